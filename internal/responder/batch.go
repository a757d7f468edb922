package responder

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	wirebatch "github.com/modulebus/modulebus/internal/batch"
	"github.com/modulebus/modulebus/internal/wire"
)

// batch is the requests of one message. Goroutines take them one by one; none takes a request that another has.
type batch struct {
	answers   string // where they are answered
	first     uint64 // the number of the first
	most      int    // bytes that a message may have
	questions []wirebatch.Question
	all       []nats.Msg
	names     []byte // of the requests; only its memory is used again
	taken     atomic.Int64
	standby   atomic.Bool  // a goroutine has been started that has taken none yet
	holders   atomic.Int32 // goroutines that may take one
}

// batches holds the memory of finished batches, to be used again.
var batches = sync.Pool{New: func() any { return &batch{} }}

// release returns the memory of a batch when the last goroutine that takes requests of it has served them. Whatever serves a request must
// keep nothing of its message afterwards.
func (b *batch) release() {
	if b.holders.Add(-1) > 0 {
		return
	}
	clear(b.questions)
	clear(b.all)
	b.answers, b.questions, b.all = "", b.questions[:0], b.all[:0]
	b.taken.Store(0)
	batches.Put(b)
}

// request is one request, of a batch or by itself.
type request struct {
	*nats.Msg

	of    *batch // nil where it is by itself
	place int
}

// next returns a request that nobody has taken, and whether there are more. Its message is nil when there is none.
func (b *batch) next() (r request, more bool) {
	i := int(b.taken.Add(1)) - 1
	if i >= len(b.all) {
		return request{}, false
	}
	return request{&b.all[i], b, i}, i+1 < len(b.all)
}

// spread makes a message of each question, as if it had come by itself.
func (b *batch) spread(of *nats.Msg) {
	names := b.names[:0]
	for i, q := range b.questions {
		names = wirebatch.AppendName(append(names, of.Reply...), i)
		m := nats.Msg{Subject: of.Subject, Sub: of.Sub, Data: q.Data}
		if q.Timeout > 0 {
			m.Header = nats.Header{wire.HeaderTimeout: {strconv.FormatUint(uint64(wire.Milliseconds(q.Timeout)), 10)}}
		}
		b.all = append(b.all, m)
	}
	b.names = names
	named, at := string(names), 0 // All names in one piece of memory.
	for i := range b.all {
		size := len(of.Reply) + len(wirebatch.NameMark) + digits(i)
		b.all[i].Reply, at = named[at:at+size], at+size
	}
}

func digits(n int) (count int) {
	for count = 1; n >= 10; n /= 10 {
		count++
	}
	return count
}
