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

	// batchBytes is how large several records of one message may be, in bytes. Beyond: the next record begins another message.
	batchBytes = 64 << 10
)

// row is a record for the stream. Its memory is used again for the next one.
type row struct {
	outcome, callback string
	id, json          []byte
}

// batch is the content of one message of the stream: records of one outcome and callback, in JSON, one a line.
type batch struct {
	outcome, callback string
	records           int
	ids               []byte // of all, with spaces between them
	data, packed      []byte
	sent              int // how often; JetStream may have it from the first time on
}

// begin makes it a message of one record. It keeps the memory that it has.
func (b *batch) begin(r *row) {
	*b = batch{r.outcome, r.callback, 1, append(b.ids[:0], r.id...), append(b.data[:0], r.json...), b.packed[:0], 0}
}

// take adds a record, and reports whether it fits: into batchBytes, and into a message of most bytes with the IDs of all.
func (b *batch) take(r *row, most int) bool {
	data, ids := len(b.data)+1+len(r.json), len(b.ids)+1+len(r.id)
	if data > batchBytes || s2.MaxEncodedLen(data)+ids > most {
		return false
	}
	b.records++
	b.data, b.ids = append(append(b.data, '\n'), r.json...), append(append(b.ids, ' '), r.id...)
	return true
}

// first returns the ID of the first record.
func (b *batch) first() string {
	id, _, _ := bytes.Cut(b.ids, []byte(" "))
	return string(id)
}

// message returns the message for NATS, in the batch's memory, where it stays as it is. Its ID for JetStream is that of its first
// record.
func (b *batch) message(at subjects.Server) *nats.Msg {
	header := nats.Header{jetstream.MsgIDHeader: {b.first()}, jetstream.ExpectedStreamHeader: {at.DecisionStream()}}
	data := b.data
	if b.records > 1 {
		header[headerIDs] = []string{string(b.ids)}
		if len(b.packed) == 0 {
			b.packed = s2.Encode(b.packed, data)
		}
		data = b.packed
	}
	return &nats.Msg{Subject: at.Decision(b.outcome, b.callback), Data: data, Header: header}
}

// maxSpare is how many messages' memory is kept for later ones. Beyond: it is given back.
const maxSpare = 16

// batches are messages in the order of their first records.
type batches struct {
	all   []*batch
	spare []*batch // whose memory is used again
}

// add puts a record into the last batch that is for such records, or into a new one.
func (s *batches) add(r *row, most int) {
	for _, b := range slices.Backward(s.all) {
		if b.outcome == r.outcome && b.callback == r.callback {
			if b.take(r, most) {
				return
			}
			break
		}
	}
	b := &batch{}
	if last := len(s.spare) - 1; last >= 0 {
		b, s.spare = s.spare[last], s.spare[:last]
	}
	b.begin(r)
	s.all = append(s.all, b)
}

// written removes the first n batches. The memory of one that was sent again stays the NATS client's, which may send it once more.
func (s *batches) written(n int) {
	for _, b := range s.all[:n] {
		if b.sent == 1 && len(s.spare) < maxSpare {
			s.spare = append(s.spare, b)
		}
	}
	s.all = slices.Delete(s.all, 0, n)
}

// records returns how many records the messages have.
func (s *batches) records() (n int) {
	for _, b := range s.all {
		n += b.records
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
