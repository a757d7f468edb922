package records

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
)

// writer writes records to the stream, one chunk after the other. What could not be written is tried again, with the same
// IDs, so that JetStream has it once.
type writer struct {
	*Journal
	reader   *Reader
	settings config.Decisions
	opened   bool        // the stream is there, as far as is known
	silent   int         // records in which no module said anything
	pending  []*nats.Msg // what is written next
	problem  string      // why nothing can be written, as the log was told
}

// run writes until ctx ends, and then what is left, for a moment.
func (w *writer) run(ctx context.Context) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(flushTime, cancel) })()
	for work.Err() == nil {
		err := w.write(work)
		w.tell(err)
		switch {
		case err != nil:
			pause(work, retryTime)
		case w.take():
		case ctx.Err() != nil:
			return
		default:
			w.reader.Await(ctx)
			pause(ctx, gatherTime)
		}
	}
	w.lost.Add(float64(len(w.pending)))
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// take takes the next records out of memory, and reports whether there were any.
func (w *writer) take() bool {
	found, lost, _, _ := w.reader.Read()
	w.lost.Add(float64(lost))
	for i := range found {
		if w.keeps(&found[i]) {
			w.add(&found[i])
		}
	}
	return len(found) > 0
}

// keeps reports whether a record goes to the stream: all but most of those in which nobody said anything.
func (w *writer) keeps(r *decision.Record) bool {
	if !r.Silent() {
		return true
	}
	w.silent++
	return (w.silent-1)%w.settings.NoOpinion == 0
}

// add has a record written next.
func (w *writer) add(r *decision.Record) {
	data := encode(r, w.most())
	if data == nil {
		w.lost.Inc()
		return
	}
	w.pending = append(w.pending, &nats.Msg{
		Subject: w.server.Decision(r.Outcome, r.Callback), Data: data,
		Header: nats.Header{jetstream.MsgIDHeader: {r.ID}, jetstream.ExpectedStreamHeader: {w.server.DecisionStream()}},
	})
}

// most is how many bytes of a record NATS takes now.
func (w *writer) most() int { return int(w.Conn.MaxPayload()) - spareBytes }

// fit leaves what makes a pending record too large out of it: NATS may have come back with a smaller max_payload.
func (w *writer) fit() {
	most := w.most()
	w.pending = slices.DeleteFunc(w.pending, func(m *nats.Msg) bool {
		if len(m.Data) <= most {
			return false
		}
		var r decision.Record
		_ = json.Unmarshal(m.Data, &r) // It is a record that encode has written.
		if m.Data = encode(&r, most); m.Data == nil {
			w.lost.Inc()
		}
		return m.Data == nil
	})
}

// encode is a record as JSON of at most so many bytes: without what was asked and answered, if it is too large with that, and
// nil if it is too large without, too.
func encode(r *decision.Record, most int) []byte {
	data, err := json.Marshal(r)
	if len(data) > most {
		r.Request, r.Answer = nil, nil
		data, err = json.Marshal(r)
	}
	if err != nil || len(data) > most {
		return nil
	}
	return data
}

// write sees to the stream, and writes what is pending.
func (w *writer) write(ctx context.Context) error {
	if !w.opened {
		if err := w.open(ctx, &w.settings); err != nil {
			return err
		}
		w.opened = true
	}
	w.fit()
	if err := w.publish(ctx); err != nil {
		w.opened = false // It may be gone.
		return err
	}
	w.pending = w.pending[:0]
	return nil
}

func (w *writer) publish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	var acks []jetstream.PubAckFuture
	for _, m := range w.pending {
		ack, err := w.js.PublishMsgAsync(m)
		if err != nil {
			return err
		}
		acks = append(acks, ack)
	}
	var errs error
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			errs = err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errs
}

// tell says once that nothing can be written, and once that it can be again.
func (w *writer) tell(err error) {
	switch {
	case err == nil && w.problem != "":
		w.Log.Info().Msg("records of decisions are written to JetStream again")
		w.problem = ""
	case err != nil && !errors.Is(err, context.Canceled) && w.explained(err).Error() != w.problem:
		w.problem = w.explained(err).Error()
		w.Log.Error().Str("problem", w.problem).Msg("records of decisions are not written to JetStream, and only the last are in memory: trying again")
	}
	if err == nil {
		w.up.Set(1)
	} else {
		w.up.Set(0)
	}
}
