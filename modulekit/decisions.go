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

// reader takes records of decisions.
type reader func(context.Context, *decision.Batch) error

// ReadDecisions has read called with the records of all decisions of the homeserver, from now on: for what reports them, or
// counts them. The operator must grant the scope decisions.read to the module, else nothing comes.
//
// Each batch goes to one worker, and the next one when read has returned; it has 30 seconds. A module that is slower than
// decisions are made misses some, and Lost of the next batch says how many. Nothing comes twice. Where several busd serve the
// homeserver, each hands over its own, and read may be called concurrently. Errors and panics of read are logged.
//
// It may only be called while the module is constructed, and once.
func (api *ModuleAPI) ReadDecisions(read func(context.Context, *decision.Batch) error) {
	if api.read != nil || read == nil {
		api.problem(errors.New("decisions are read by one function"))
	}
	api.read = read
}

// handOver calls the module.
func (r reader) handOver(ctx context.Context, b *decision.Batch, log *zerolog.Logger) (err error) {
	defer responder.Recover(&err, log, "ReadDecisions", "", nil)
	return r(ctx, b)
}

// readDecisions takes a batch from busd.
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

// readsDecisions listens for batches.
func (i *instance) readsDecisions(server subjects.Server) {
	if i.api.read != nil {
		i.queue(server.Decisions(i.api.options.Module), target{name: "decisions", read: i.api.read})
	}
}
