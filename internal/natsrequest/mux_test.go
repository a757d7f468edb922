package natsrequest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	server  = "example.com"
	client  = "client"
	subject = "module.question"
	cancels = "module.cancel"

	patience = 30 * time.Second // for what must come; a test that passes does not wait for it
)

// reply is what a receiver got.
type reply struct {
	place int
	msg   *nats.Msg
}

// receiver keeps what it gets.
type receiver struct {
	replies chan reply
	lost    chan struct{}
}

func newReceiver() *receiver { return &receiver{make(chan reply, 16), make(chan struct{}, 16)} }

// Receive implements [natsrequest.Receiver].
func (r *receiver) Receive(place int, m *nats.Msg) { r.replies <- reply{place, m} }

// Lost implements [natsrequest.Receiver].
func (r *receiver) Lost() { r.lost <- struct{}{} }

// stage is a mux, and a module that gets its requests.
type stage struct {
	*testing.T
	*natsrequest.Mux
	module *nats.Conn
}

func newStage(t *testing.T) *stage {
	t.Helper()
	home := natstest.InProcess(t)
	m, err := natsrequest.New(natstest.Connect(t, home), subjects.For(server).AnswersAny(client))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return &stage{t, m, natstest.Connect(t, home)}
}

// questions are the requests that the module gets, on one subject.
func (s *stage) questions(subject string) chan *nats.Msg {
	s.Helper()
	all := make(chan *nats.Msg, 16)
	if _, err := s.module.ChanSubscribe(subject, all); err != nil {
		s.Fatal(err)
	}
	if err := s.module.Flush(); err != nil {
		s.Fatal(err)
	}
	return all
}

func (s *stage) send(to natsrequest.Receiver, place int, r natsrequest.Request) natsrequest.Ticket {
	s.Helper()
	ticket, err := s.Send(to, place, r)
	if err != nil {
		s.Fatal(err)
	}
	return ticket
}

func await[T any](t *testing.T, from <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return got
}

func respond(t *testing.T, m *nats.Msg, text string) {
	t.Helper()
	if err := m.Respond([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestMuxBringsEachReplyToItsPlace(t *testing.T) {
	t.Parallel()
	s, one, two := newStage(t), newReceiver(), newReceiver()
	questions := s.questions(subject)
	s.send(one, 3, natsrequest.Request{Subject: subject, Data: []byte("a")})
	s.send(two, 0, natsrequest.Request{Subject: subject, Data: []byte("b"), JSON: true, Timeout: 20 * time.Millisecond})
	first, second := await(t, questions), await(t, questions)
	if string(second.Data) != "b" || !bool(wire.MappingOf(second)) || wire.Timeout(second, time.Hour) != 20*time.Millisecond {
		t.Errorf("the module got %q with %v", second.Data, second.Header)
	}
	respond(t, second, "B")
	respond(t, first, "A")
	for _, want := range []struct {
		of    *receiver
		place int
		text  string
	}{{one, 3, "A"}, {two, 0, "B"}} {
		if got := await(t, want.of.replies); got.place != want.place || string(got.msg.Data) != want.text {
			t.Errorf("got %q at place %d, want %q at %d", got.msg.Data, got.place, want.text, want.place)
		}
	}
	if n := s.Waiting(); n != 0 {
		t.Errorf("%d replies are waited for", n)
	}
}

func TestMuxTakesOneReplyOfAQuestion(t *testing.T) {
	t.Parallel()
	s, r := newStage(t), newReceiver()
	questions := s.questions(subject)
	s.send(r, 0, natsrequest.Request{Subject: subject})
	q := await(t, questions)
	made := q.Reply[:strings.LastIndexByte(q.Reply, '.')+1]
	for _, to := range []string{made + "0", made + "0-0", made + "no-number", made + "?-0", made + "zzzzzzzzzzzzz-0", q.Reply + "6", q.Reply, q.Reply} {
		if err := s.module.Publish(to, []byte(to)); err != nil {
			t.Fatal(err)
		}
	}
	if got := await(t, r.replies); string(got.msg.Data) != q.Reply {
		t.Errorf("got %q", got.msg.Data)
	}
	s.passed(questions, r)
}

// passed wants no reply of earlier questions to have come: one of a later question comes after them.
func (s *stage) passed(questions chan *nats.Msg, r *receiver) {
	s.Helper()
	s.send(r, 99, natsrequest.Request{Subject: subject})
	respond(s.T, await(s.T, questions), "")
	if got := await(s.T, r.replies); got.place != 99 {
		s.Errorf("got %q at place %d", got.msg.Data, got.place)
	}
}

func TestMuxSaysThatNobodyIsThere(t *testing.T) {
	t.Parallel()
	s, r := newStage(t), newReceiver()
	s.send(r, 0, natsrequest.Request{Subject: subject})
	if f := wire.FailureOf(await(t, r.replies).msg); f == nil || f.Kind != rosterv1.FailureKind_ABSENT {
		t.Errorf("got %v", f)
	}
}

func TestForgetDropsTheReply(t *testing.T) {
	t.Parallel()
	s, r := newStage(t), newReceiver()
	questions := s.questions(subject)
	ticket := s.send(r, 0, natsrequest.Request{Subject: subject})
	q := await(t, questions)
	s.Forget(ticket)
	respond(t, q, "late")
	s.passed(questions, r)
}

func TestCancelTellsTheModuleWhichQuestion(t *testing.T) {
	t.Parallel()
	s, r := newStage(t), newReceiver()
	questions, cancelled := s.questions(subject), s.questions(cancels)
	ticket := s.send(r, 0, natsrequest.Request{Subject: subject})
	q := await(t, questions)
	s.Cancel(ticket, cancels)
	if got := await(t, cancelled); string(got.Data) != q.Reply {
		t.Errorf("cancelled %q, and asked %q", got.Data, q.Reply)
	}
	respond(t, q, "late")
	s.passed(questions, r)
}

func TestLostReachesWhoAskedThatSubject(t *testing.T) {
	t.Parallel()
	s, asked, other := newStage(t), newReceiver(), newReceiver()
	questions := s.questions(subject)
	s.questions("module.other")
	s.send(asked, 0, natsrequest.Request{Subject: subject})
	s.send(other, 0, natsrequest.Request{Subject: "module.other"})
	q := await(t, questions)
	s.Lost(subject)
	await(t, asked.lost)
	if len(other.lost) > 0 {
		t.Error("another subject's receiver was told")
	}
	respond(t, q, "all the same")
	if got := await(t, asked.replies); string(got.msg.Data) != "all the same" {
		t.Errorf("got %q", got.msg.Data)
	}
}

func TestMuxCloseFailsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	s, r := newStage(t), newReceiver()
	questions := s.questions(subject)
	s.send(r, 7, natsrequest.Request{Subject: subject})
	await(t, questions)
	s.Close()
	got := await(t, r.replies)
	if f := wire.FailureOf(got.msg); got.place != 7 || f == nil || !strings.Contains(f.Text, natsrequest.ErrClosed.Error()) {
		t.Errorf("got %v at place %d", f, got.place)
	}
	if _, err := s.Send(r, 0, natsrequest.Request{Subject: subject}); !errors.Is(err, natsrequest.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestMuxAnswersForAQuestionThatIsTooLarge(t *testing.T) {
	t.Parallel()
	s, r := newStage(t), newReceiver()
	s.questions(subject)
	s.send(r, 0, natsrequest.Request{Subject: subject, Data: make([]byte, s.MaxPayload()+1)})
	f := wire.FailureOf(await(t, r.replies).msg)
	if f == nil || f.Kind != rosterv1.FailureKind_ERROR || !strings.Contains(f.Text, "1048577 bytes is larger than max_payload") {
		t.Errorf("got %v", f)
	}
}
