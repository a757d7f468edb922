package records

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// headerIDs is the header with the IDs of all records of a message that has several, separated by spaces. The data of such a
	// message is compressed with S2.
	headerIDs = "Modulebus-Decisions"

	// batchBytes is how large several records of one message may be. Beyond: the next record begins another message.
	batchBytes = 64 << 10
)

// batch is the content of one message of the stream: records of one outcome and callback, in JSON, one a line.
type batch struct {
	outcome, callback string
	ids               []string
	data              []byte
}

// take adds a record, and reports whether it fits: into batchBytes, and into a message of most bytes with the IDs of all.
func (b *batch) take(r *decision.Record, most int) bool {
	data, err := appendRecord(append(b.data, '\n'), r)
	ids := (len(b.ids) + 1) * (len(r.ID) + len(" "))
	if err != nil || len(data) > batchBytes || s2.MaxEncodedLen(len(data))+ids > most {
		return false
	}
	b.data, b.ids = data, append(b.ids, r.ID)
	return true
}

// message returns the message for NATS. Its ID for JetStream is that of its first record.
func (b *batch) message(at subjects.Server) *nats.Msg {
	header := nats.Header{jetstream.MsgIDHeader: {b.ids[0]}, jetstream.ExpectedStreamHeader: {at.DecisionStream()}}
	data := b.data
	if len(b.ids) > 1 {
		header[headerIDs] = []string{strings.Join(b.ids, " ")}
		data = s2.Encode(nil, data)
	}
	return &nats.Msg{Subject: at.Decision(b.outcome, b.callback), Data: data, Header: header}
}

// batches are messages in the order of their first records.
type batches []*batch

// add puts a record into the last batch that is for such records, or into a new one. It reports false for one that is too large for
// NATS.
func (all *batches) add(r *decision.Record, most int) bool {
	for _, b := range slices.Backward(*all) {
		if b.outcome == r.Outcome && b.callback == r.Callback {
			if b.take(r, most) {
				return true
			}
			break
		}
	}
	data := encode(r, most)
	if data != nil {
		*all = append(*all, &batch{r.Outcome, r.Callback, []string{r.ID}, data})
	}
	return data != nil
}

// records returns how many records the messages have.
func (all batches) records() (n int) {
	for _, b := range all {
		n += len(b.ids)
	}
	return n
}

// written returns the records in a message of the stream. It skips everything else, because other clients may be able to write
// there.
func written(h nats.Header, data []byte) iter.Seq[decision.Record] {
	if h.Get(headerIDs) != "" {
		if n, err := s2.DecodedLen(data); err != nil || n > batchBytes {
			data = nil
		}
		data, _ = s2.Decode(nil, data)
	}
	return lines(data)
}

// lines returns the records in JSON that has one a line.
func lines(data []byte) iter.Seq[decision.Record] {
	return func(yield func(decision.Record) bool) {
		for line := range bytes.Lines(data) {
			var r decision.Record
			if json.Unmarshal(line, &r) == nil && r.ID != "" && !yield(r) {
				return
			}
		}
	}
}

// named reports whether a message has the record with that ID.
func named(h nats.Header, id string) bool {
	return h.Get(jetstream.MsgIDHeader) == id || slices.Contains(strings.Fields(h.Get(headerIDs)), id)
}
