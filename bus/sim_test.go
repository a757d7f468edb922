package bus_test

import (
	"cmp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// sim is a [natsrequest.Requester] to workers that do what a script says. It is for bubbles of testing/synctest: what takes an hour
// there takes no time, and nothing comes at a time that was not said.
type sim struct {
	script func(*exchange) []arrival

	mu      sync.Mutex
	log     []*exchange // by ticket, from 1
	waiting int
}

// exchange is one request, and what came of it.
type exchange struct {
	natsrequest.Request

	module, worker string // the worker is empty where any will do
	nth            int    // of the module's, from 0
	at             time.Time
	reply          *nats.Msg // as it was delivered, when it was over
	unsent         error
	cancelled      bool      // the module was told that its answer is not wanted
	over           time.Time // when nothing was waited for any more; zero while something is

	to    natsrequest.Receiver
	place int
}

// arrival is a reply that comes after some time. Of several to one request, a line brings the first.
type arrival struct {
	after time.Duration
	reply *nats.Msg
}

// unsendable is the arrival of what the connection does not take.
var unsendable = []arrival{{reply: nil}}

// replies answers every request at once.
func replies(m *nats.Msg) func(*exchange) []arrival {
	return func(*exchange) []arrival { return []arrival{{0, m}} }
}

// Send implements [natsrequest.Requester].
func (s *sim) Send(to natsrequest.Receiver, i int, r natsrequest.Request) (natsrequest.Ticket, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tokens := strings.Split(r.Subject, ".")
	r.Data = append([]byte(nil), r.Data...)
	x := &exchange{Request: r, module: tokens[5], at: time.Now(), to: to, place: i}
	if len(tokens) > 6 {
		x.worker = tokens[6]
	}
	for _, earlier := range s.log {
		if earlier.module == x.module {
			x.nth++
		}
	}
	s.log = append(s.log, x)
	arrivals := s.script(x)
	for _, a := range arrivals {
		if a.reply == nil {
			x.unsent, x.over = nats.ErrConnectionClosed, time.Now()
			return 0, x.unsent
		}
		time.AfterFunc(a.after, func() { s.deliver(x, a.reply) })
	}
	s.waiting++
	return natsrequest.Ticket(len(s.log)), nil
}

func (s *sim) deliver(x *exchange, m *nats.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.over.IsZero() {
		s.end(x)
		x.reply = m
		x.to.Receive(x.place, m)
	}
}

func (s *sim) end(x *exchange) {
	if x.over.IsZero() {
		x.over = time.Now()
		s.waiting--
	}
}

// Forget implements [natsrequest.Requester].
func (s *sim) Forget(t natsrequest.Ticket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(s.log[t-1])
}

// Cancel implements [natsrequest.Requester].
func (s *sim) Cancel(t natsrequest.Ticket, _ string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(s.log[t-1])
	s.log[t-1].cancelled = true
}

// Lost implements [natsrequest.Requester].
func (s *sim) Lost(subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.log {
		if x.Subject == subject && x.over.IsZero() {
			x.to.Lost()
		}
	}
}

// Flush implements [natsrequest.Requester].
func (*sim) Flush() {}

// MaxPayload implements [natsrequest.Requester].
func (s *sim) MaxPayload() int { return 1 << 20 }

// of returns the exchanges with a module, in order.
func (s *sim) of(module string) []*exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	var of []*exchange
	for _, x := range s.log {
		if x.module == module {
			of = append(of, x)
		}
	}
	return of
}

// asked names the workers of the exchanges; who was any is a star.
func asked(xs []*exchange) string {
	var names []string
	for _, x := range xs {
		names = append(names, cmp.Or(x.worker, "*"))
	}
	return strings.Join(names, " ")
}

// module is an entry of a roster with one callback.
func module(d *subjects.Declaration, name string, i *rosterv1.Interest, workers ...string) *rosterv1.Module {
	i.Callback = d.FullName()
	return &rosterv1.Module{Name: name, Callbacks: []*rosterv1.Interest{i}, Workers: workers}
}

// simulated is a client whose modules do what the script says.
func simulated(t testing.TB, script func(*exchange) []arrival, modules ...*rosterv1.Module) (*bus.Client, *sim) {
	t.Helper()
	s := &sim{script: script}
	return over(t, s, &rosterv1.Roster{Revision: 1, BudgetMs: 60_000, Modules: modules}), s
}
