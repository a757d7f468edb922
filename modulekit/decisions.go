package modulekit

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

// reader is the module's function that reads records of decisions.
type reader func(context.Context, *decision.Batch) error

// ReadDecisions makes the kit call read with the records of all later decisions of the homeserver, so that the module
// can report or count them. The operator must grant the module the scope decisions.read; without it, read is never
// called.
//
// Each batch goes to one worker. read has 30 seconds for it, and the next batch comes when read has returned. A module
// that is slower than decisions are made misses some, and Lost of the next batch says how many. No record comes twice.
// If several busd serve the homeserver, each sends its own records, and read may be called concurrently. Errors and
// panics of read are logged.
//
// It may only be called while the module is constructed, and once.
func (api *ModuleAPI) ReadDecisions(read func(context.Context, *decision.Batch) error) {
	if api.read != nil || read == nil {
		api.problem(errors.New("ReadDecisions takes one function for all records: call it once, and not with nil"))
	}
	api.read = read
}

// handOver calls the module's function with a batch.
func (r reader) handOver(ctx context.Context, b *decision.Batch, log *zerolog.Logger) (err error) {
	defer responder.Recover(&err, log, "ReadDecisions", "", nil)
	return r(ctx, b)
}

// readDecisions answers busd's message with a batch.
func (w *worker) readDecisions(read reader, m *nats.Msg) responder.Answer {
	b := &decision.Batch{}
	if err := json.Unmarshal(m.Data, b); err != nil {
		return spell(responder.Trouble{Text: "cannot read the records: " + err.Error()})
	}
	const most = time.Minute
	ctx := w.questions.Begin("", wire.Timeout(m, most))
	defer ctx.End()
	if err := read.handOver(ctx, b, w.options.Log); err != nil {
		w.options.Log.Warn().Err(err).Msg("reading decisions failed")
	}
	return responder.Answer{}
}

// readsDecisions adds the subject of batches to those that the instance listens to.
func (i *instance) readsDecisions(server subjects.Server) {
	if i.api.read != nil {
		i.queue(server.Decisions(i.api.options.Module), target{name: "decisions", read: i.api.read})
	}
}
