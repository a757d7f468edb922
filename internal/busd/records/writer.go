package records

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
)

// writer writes records to the stream, one chunk after the other. It tries failed writes again with the same IDs, so
// that JetStream stores each record once.
type writer struct {
	*Journal
	reader   *Reader
	settings config.Decisions
	opened   bool // the stream exists, as far as is known
	silent   int  // records without any opinion
	encoder  encoder
	pending  batches // what is written next
	fitted   int     // how many bytes of a message NATS took, at most, when they were put together
	row      row     // which is being taken
	problem  string  // why nothing can be written, as logged
}

// run writes until ctx ends, and then writes the rest, for at most flushTime.
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
			w.reader.gather(ctx)
		}
	}
	w.lost.Add(float64(w.pending.records()))
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// take reads the next records from memory, and reports whether there were any. It ends when they are enough messages to write: large
// records are a message each.
func (w *writer) take() bool {
	taken := 0
	for end := false; !end && taken < enough && len(w.pending.all) < chunk; taken += len(w.reader.entries) {
		var lost uint64
		lost, end = w.reader.fetch()
		w.lost.Add(float64(lost))
		for i := range w.reader.entries {
			if e := &w.reader.entries[i]; w.keeps(e) {
				w.add(e)
			}
		}
	}
	return taken > 0
}

// keeps reports whether an entry goes to the stream: of those without any opinion only one of many, and all others.
func (w *writer) keeps(e *entry) bool {
	if !e.silent() {
		return true
	}
	w.silent++
	return (w.silent-1)%w.settings.NoOpinion == 0
}

// add adds an entry to those that are written next, without its request and answer if it is too large with them.
func (w *writer) add(e *entry) {
	most := w.most()
	w.fitted = max(w.fitted, most)
	r := &w.row
	r.outcome, r.callback, r.id = string(e.outcome), e.callback.FullName(), w.encoder.ids.append(r.id[:0], e.start, e.number)
	var err error
	r.json, err = w.encoder.append(r.json[:0], e)
	if content := e.content; content != nil {
		e.content = nil // It is large, and the entry is kept for its memory.
		if err != nil || len(r.json) > most {
			r.json, err = w.encoder.append(r.json[:0], e)
		}
	}
	w.addRow(most, err)
}

// addRow adds the row, unless there is none that NATS takes.
func (w *writer) addRow(most int, err error) {
	if n := len(w.row.json); err != nil || n == 0 || n > most {
		w.lost.Inc()
		return
	}
	w.pending.add(&w.row, most)
}

// most is how many bytes a record may have for NATS now.
func (w *writer) most() int { return int(w.Conn.MaxPayload()) - spareBytes }

// fit shortens pending messages that are too large, because NATS may have come back with a smaller max_payload.
func (w *writer) fit(ctx context.Context) error {
	most := w.most()
	if most >= w.fitted {
		w.fitted = most
		return nil
	}
	before, err := w.unstored(ctx)
	if err != nil {
		return err
	}
	w.pending.all, w.fitted = nil, most
	for _, b := range before {
		for r := range lines(b.data) {
			w.row = row{r.Outcome, r.Callback, []byte(r.ID), encode(&r, most)}
			w.addRow(most, nil)
		}
	}
	return nil
}

// unstored returns the pending messages that JetStream does not have. It may have one whose answer was lost; JetStream would not know it
// by its ID when it comes in parts.
func (w *writer) unstored(ctx context.Context) (left []*batch, _ error) {
	for _, b := range w.pending.all {
		if b.sent > 0 {
			sequence, err := w.since(ctx, b.first(), w.server.Decision(b.outcome, b.callback))
			if err != nil {
				return nil, err
			}
			if sequence > 0 {
				continue
			}
		}
		left = append(left, b)
	}
	return left, nil
}

// encode returns a record as JSON of at most most bytes. If it is too large, it leaves out the request and the answer;
// if that is not enough, it returns nil.
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

// write makes the stream if necessary, and writes the pending records.
func (w *writer) write(ctx context.Context) error {
	if !w.opened {
		if err := w.open(ctx, &w.settings); err != nil {
			return err
		}
		w.opened = true
	}
	if err := w.fit(ctx); err != nil {
		w.opened = false // It may be gone.
		return err
	}
	for len(w.pending.all) > 0 {
		some := w.pending.all[:min(len(w.pending.all), chunk)]
		if err := w.publish(ctx, some); err != nil {
			w.opened = false // It may be gone.
			return err
		}
		w.pending.written(len(some))
	}
	return nil
}

// publish writes messages that wait for JetStream together. There must not be more of them than [NewJournal] lets wait.
func (w *writer) publish(ctx context.Context, some []*batch) error {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	var acks []jetstream.PubAckFuture
	for _, b := range some {
		b.sent++
		ack, err := w.js.PublishMsgAsync(b.message(w.server))
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

// tell logs once that records cannot be written, and once that they can be again.
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
