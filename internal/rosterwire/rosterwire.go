// Package rosterwire carries rosters over NATS, in one message or in parts where one is too small, and fetches them.
//
// A roster with a revision from the future is not believed by itself: see [Plausible].
package rosterwire

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const (
	envelope = 256 // bytes of a message that carries a part, beside its data

	// maxParts bounds the parts of one roster. Beyond: it is not told, and the log says so.
	maxParts = 1024

	// maxBytes bounds a roster in parts, in bytes. Beyond: it is ignored, and the log says so.
	maxBytes = 64 << 20

	// maxSenders bounds the senders whose parts are kept at the same time. Beyond: the oldest parts are given up, and the
	// roster is asked for again.
	maxSenders = 16
)

// Skew is how far the clock of the busd that made a roster may be ahead.
const Skew = 5 * time.Minute

// Grace is how long [Fetch] waits for another busd if the first has no roster, or none that is plausible.
const Grace = 250 * time.Millisecond

// Plausible reports whether a roster with this revision can have been made by now: revisions are times. One from the
// future comes from a wrong clock, or from an attacker whose roster would never be replaced. It is used only as the answer to
// a request, and any plausible roster replaces it.
func Plausible(revision uint64, now time.Time) bool {
	return revision <= uint64(now.Add(Skew).UnixMilli())
}

// Messages returns the payloads that carry a roster, of at most limit bytes each, to be published one after the other. A
// roster that fits is one message, and is itself. The sender is any string that no other process uses.
func Messages(r *rosterv1.Roster, limit int, sender string) ([][]byte, error) {
	data, err := proto.Marshal(r)
	if err != nil || len(data) <= limit {
		return [][]byte{data}, err
	}
	size := limit - envelope - len(sender)
	if size <= 0 || (len(data)+size-1)/size > maxParts {
		return nil, errors.New("the roster is too large for the messages of this NATS: raise max_payload")
	}
	pieces := slices.Collect(slices.Chunk(data, size))
	var all [][]byte
	for i, piece := range pieces {
		part, err := proto.Marshal(&rosterv1.Roster{Part: &rosterv1.Part{
			Revision: r.GetRevision(), Sender: sender, Index: uint32(i), Count: uint32(len(pieces)), Data: piece,
		}})
		if err != nil {
			return nil, err
		}
		all = append(all, part)
	}
	return all, nil
}

// Assembler makes rosters of messages. The zero Assembler is ready to be used, by one goroutine at a time.
type Assembler struct {
	pending []*pending // by sender, the latest last
}

// pending is a roster whose parts have not all arrived.
type pending struct {
	sender   string
	revision uint64
	next     uint32
	data     []byte
}

// ErrParts is returned for a part that cannot belong to a roster.
var ErrParts = errors.New("a part of a roster does not fit the others")

// Add takes in a message. It returns a roster when there is a whole one, and nil while parts are missing. Parts of a sender
// come in order; when one is missing, the roster is given up, and the next one is waited for.
func (a *Assembler) Add(data []byte) (*rosterv1.Roster, error) {
	r := &rosterv1.Roster{}
	if err := proto.Unmarshal(data, r); err != nil {
		return nil, err
	}
	if r.GetPart() == nil {
		return r, nil
	}
	return a.part(r.GetPart())
}

func (a *Assembler) part(p *rosterv1.Part) (*rosterv1.Roster, error) {
	of := a.take(p)
	if of == nil || p.GetCount() > maxParts || len(of.data)+len(p.GetData()) > maxBytes {
		return nil, ErrParts
	}
	of.data = append(of.data, p.GetData()...)
	of.next++
	if of.next < p.GetCount() {
		a.pending = append(a.pending, of)
		a.pending = a.pending[max(0, len(a.pending)-maxSenders):]
		return nil, nil //nolint:nilnil // There is no roster yet, and nothing is wrong.
	}
	r := &rosterv1.Roster{}
	if err := proto.Unmarshal(of.data, r); err != nil {
		return nil, err
	}
	return r, nil
}

// take removes and returns what the part continues, or nil when it continues nothing. A first part begins anew.
func (a *Assembler) take(p *rosterv1.Part) *pending {
	i := slices.IndexFunc(a.pending, func(o *pending) bool { return o.sender == p.GetSender() })
	var found *pending
	if i >= 0 {
		found = a.pending[i]
		a.pending = slices.Delete(a.pending, i, i+1)
	}
	switch {
	case p.GetIndex() == 0:
		return &pending{sender: p.GetSender(), revision: p.GetRevision()}
	case found != nil && found.revision == p.GetRevision() && found.next == p.GetIndex():
		return found
	}
	return nil
}

// Fetch requests a roster later than have, on the subject. It returns nil when there is no later one, and
// [nats.ErrNoResponders] when no busd answers. It prefers a plausible answer to others.
func Fetch(ctx context.Context, nc *nats.Conn, subject string, have uint64) (*rosterv1.Roster, error) {
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // It fails only when the connection is closed.
	if err := nc.PublishRequest(subject, inbox, []byte(strconv.FormatUint(have, 10))); err != nil {
		return nil, err
	}
	f, wait := fetch{have: have}, ctx
	for {
		m, err := sub.NextMsgWithContext(wait)
		switch {
		case err != nil && f.answered:
			return f.best, nil
		case err != nil:
			return nil, err // No responders among others.
		case len(m.Data) == 0 && m.Header.Get("Status") == "503":
			return nil, nats.ErrNoResponders
		}
		if f.take(m) {
			return f.best, nil
		}
		if f.answered && wait == ctx {
			var cancel context.CancelFunc
			wait, cancel = context.WithTimeout(ctx, Grace) //nolint:fatcontext // Once, and not of itself.
			defer cancel()
		}
	}
}

// fetch is what was answered so far.
type fetch struct {
	Assembler
	have     uint64
	answered bool
	best     *rosterv1.Roster
}

// take handles an answer, and reports whether no better one has to be waited for. An answer that cannot be read is ignored.
func (f *fetch) take(m *nats.Msg) (enough bool) {
	r, err := f.Add(m.Data)
	if err != nil || r == nil {
		return false
	}
	f.answered = true
	if r.GetRevision() <= f.have {
		return false
	}
	plausible := Plausible(r.GetRevision(), time.Now())
	if f.best == nil || plausible {
		f.best = r
	}
	return plausible
}
