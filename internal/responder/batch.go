package responder

import (
	"strconv"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	wirebatch "github.com/modulebus/modulebus/internal/batch"
	"github.com/modulebus/modulebus/internal/wire"
)

// batch is the requests of one message. Goroutines take them one by one; none takes a request that another has.
type batch struct {
	answers string // where they are answered
	first   uint64 // the number of the first
	most    int    // bytes that a message may have
	all     []nats.Msg
	taken   atomic.Int64
	standby atomic.Bool // a goroutine has been started that has taken none yet
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

// messages are the questions, each as the message that it would be by itself.
func messages(of *nats.Msg, questions []wirebatch.Question) []nats.Msg {
	names := make([]byte, 0, len(questions)*(len(of.Reply)+len("-255")))
	all := make([]nats.Msg, len(questions))
	for i, q := range questions {
		names = wirebatch.AppendName(append(names, of.Reply...), i)
		all[i] = nats.Msg{Subject: of.Subject, Sub: of.Sub, Data: q.Data}
		if q.Timeout > 0 {
			all[i].Header = nats.Header{wire.HeaderTimeout: {strconv.FormatUint(uint64(wire.Milliseconds(q.Timeout)), 10)}}
		}
	}
	named, at := string(names), 0 // All names in one piece of memory.
	for i := range all {
		size := len(of.Reply) + len(wirebatch.NameMark) + digits(i)
		all[i].Reply, at = named[at:at+size], at+size
	}
	return all
}

func digits(n int) (count int) {
	for count = 1; n >= 10; n /= 10 {
		count++
	}
	return count
}
