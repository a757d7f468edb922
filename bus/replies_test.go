package bus_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// crude runs a worker that is not of the kit, and does with requests what it likes.
func (s *stage) crude(name, worker string, serve func(*nats.Msg)) *nats.Conn {
	s.t.Helper()
	nc := natstest.Connect(s.t, s.home)
	for _, subject := range []string{names.Callback(mayCreate, name), names.Worker(mayCreate, name, worker)} {
		if _, err := nc.QueueSubscribe(subject, subjects.Group(name), serve); err != nil {
			s.t.Fatal(err)
		}
	}
	join, err := proto.Marshal(&rosterv1.Join{Worker: worker, Callbacks: []string{mayCreate.FullName()}})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := nc.Request(names.Join(name), join, time.Minute); err != nil {
		s.t.Fatal(err)
	}
	s.until(name, func(m *rosterv1.Module) bool { return strings.Contains(strings.Join(m.GetWorkers(), " "), worker) })
	return nc
}

// create asks about a user, and wants a refusal with that errcode, or with none nobody's opinion.
func (s *stage) create(user, want string) {
	s.t.Helper()
	got, err := s.SpamChecker.UserMayCreateRoom(s.t.Context(), &question{UserId: user})
	if err != nil || got.Answer.GetRefusal().GetErrcode() != want || (got.Answer == nil) != (want == "") {
		s.t.Errorf("of %s: got %v, %v; want %s", user, got, err, want)
	}
}

// answer is what a refusal of the user that a request is about says: the user.
func answer(m *nats.Msg) *nats.Msg {
	q := &question{}
	if err := proto.Unmarshal(m.Data, q); err != nil {
		return failure(malformed)
	}
	return data(denied(q.GetUserId()))
}

func TestSecondReplyIsNobodys(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	s.crude("a", "w", func(m *nats.Msg) {
		for _, reply := range []*nats.Msg{answer(m), data(denied("again")), failure(failed), {}} {
			_ = m.RespondMsg(reply)
		}
	})
	for i := range 200 {
		user := strconv.Itoa(i)
		s.create(user, user)
	}
	if n := s.Waiting(); n != 0 {
		t.Errorf("%d replies are still waited for", n)
	}
}

func TestLateReplyIsNobodys(t *testing.T) {
	t.Parallel()
	slow := entry("a")
	slow.Timeout = soon
	s := newStage(t, natstest.InProcess(t), slow)
	late := make(chan *nats.Msg, 4)
	nc := s.crude("a", "w", func(m *nats.Msg) {
		if reply := answer(m); strings.Contains(string(reply.Data), "late") {
			late <- m
		} else {
			_ = m.RespondMsg(reply)
		}
	})
	for i := range 4 {
		got, err := s.SpamChecker.UserMayCreateRoom(t.Context(), &question{UserId: fmt.Sprint("late", i)})
		want := []bus.Failure{{Module: "a", Kind: timeout, Policy: fail}}
		if diff := cmp.Diff(want, got.Failures, wordless); err == nil || got.Answer != nil || diff != "" {
			t.Errorf("got %v, %v", got, err)
		}
	}
	for range 4 {
		m := <-late
		_ = m.RespondMsg(answer(m))
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := s.Waiting(); n != 0 {
		t.Errorf("%d replies are still waited for", n)
	}
	// The test's machine may be slow, too: that is a failure, and never another's answer.
	for i := range 50 {
		user := strconv.Itoa(i)
		got, _ := s.SpamChecker.UserMayCreateRoom(t.Context(), &question{UserId: user})
		if got.Answer != nil && got.Answer.GetRefusal().GetErrcode() != user {
			t.Errorf("of %s, the module said %v", user, got)
		}
	}
}

func TestRepliesThatAreMadeUpAreNobodys(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	var nc *nats.Conn
	ready := make(chan struct{})
	nc = s.crude("a", "w", func(m *nats.Msg) {
		<-ready
		inbox := m.Reply[:strings.LastIndexByte(m.Reply, '.')+1]
		for _, token := range []string{"0", "1", "zzz", "-1", "%00", "3w5e11264sgsf", "3w5e11264sgsg", strings.Repeat("9", 100), "ä"} {
			_ = nc.Publish(inbox+token, data(denied("made up")).Data)
		}
		_ = m.Respond(nil)
	})
	close(ready)
	for range 50 {
		s.create("x", "")
	}
	if n := s.Waiting(); n != 0 {
		t.Errorf("%d replies are still waited for", n)
	}
}

// A worker may say its last word while it leaves; what it takes along is made up for where another may be asked, too.
func TestWorkerThatLeavesWithARequest(t *testing.T) {
	t.Parallel()
	hedged := entry("a")
	hedged.Hedge = soon
	s := newStage(t, natstest.InProcess(t), hedged)
	var once sync.Once
	began, leave := make(chan struct{}), make(chan struct{})
	var leaver *nats.Conn
	ready := make(chan struct{})
	leaver = s.crude("a", "leaver", func(m *nats.Msg) {
		<-ready
		once.Do(func() { close(began) })
		<-leave
		_ = m.RespondMsg(answer(m))
		_ = leaver.FlushTimeout(time.Minute)
		leaver.Close()
	})
	close(ready)
	done := make(chan struct{})
	go func() { defer close(done); s.create("last word", "last word") }()
	<-began
	gone, err := proto.Marshal(&rosterv1.Leave{Worker: "leaver"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.nc.Request(names.Leave("a"), gone, time.Minute); err != nil {
		t.Fatal(err)
	}
	close(leave)
	<-done

	// Now one that dies with what it was asked, and one that stays.
	stay := func(m *nats.Msg) { _ = m.RespondMsg(answer(m)) }
	var dier *nats.Conn
	alive := make(chan struct{})
	dier = s.crude("a", "dier", func(m *nats.Msg) {
		<-alive
		dier.Close()
	})
	close(alive)
	s.crude("a", "stayer", stay)
	for i := range 10 {
		user := strconv.Itoa(i)
		s.create(user, user)
	}
}

// What is cut short is no answer, wherever it is cut: here, where the answer is one thing.
func TestTruncatedReplies(t *testing.T) {
	t.Parallel()
	whole := data(&verdict{Refusal: &callbacksv1.Refusal{
		Errcode: "M_FORBIDDEN", Error: "No", AdditionalFields: []byte(`{"a":1}`), HttpStatus: new(uint32(403)),
	}}).Data
	json, err := wire.ToJSON(denied("A"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(reply *nats.Msg) {
		t.Helper()
		l := &line{replies: map[string]*nats.Msg{"a": reply}}
		got, err := over(t, l, rosterOf(mayCreate, "a")).SpamChecker.UserMayCreateRoom(t.Context(), &question{})
		if want := []bus.Failure{{Module: "a", Kind: malformed, Policy: skip}}; err != nil || got.Answer != nil || !cmp.Equal(want, got.Failures, wordless) {
			t.Errorf("%q: got %v, %v", reply.Data, got, err)
		}
	}
	for i := 1; i < len(whole); i++ {
		check(&nats.Msg{Data: whole[:i]})
	}
	for i := 1; i < len(json); i++ {
		check(&nats.Msg{Header: nats.Header{wire.HeaderContentType: {wire.JSONType}}, Data: json[:i]})
	}
}

// A module that takes one question for another does not decide it. In protobuf that goes as far as the messages differ in
// shape: what has a message of two texts in its first field is a refusal, whatever it was meant to be.
func TestRepliesOfAnotherCallback(t *testing.T) {
	t.Parallel()
	for _, other := range []proto.Message{
		&callbacksv1.OnCreateRoomResponse{RequestContent: []byte(`{"preset":"private_chat"}`)},
		&callbacksv1.CheckEventAllowedResponse{Replacement: []byte(`{"type":"m.room.message"}`)},
		&callbacksv1.IsUserExpiredResponse{Expired: new(true)},
		&callbacksv1.OnUpdateResponse{TargetDurationMs: new(int64(7)), Token: "t", Worker: "w"},
		&callbacksv1.AuthCheckersResponse{UserId: "@alice:example.com", Worker: "w"},
		&callbacksv1.GetInterestedUsersResponse{Users: []string{"@alice:example.com"}},
		&callbacksv1.GetUsersForStatesResponse{Users: map[string]*callbacksv1.UserPresenceStates{"@a:x": {}}},
	} {
		raw, err := wire.ToJSON(other)
		if err != nil {
			t.Fatal(err)
		}
		replies := []*nats.Msg{{Header: nats.Header{wire.HeaderContentType: {wire.JSONType}}, Data: raw}}
		if _, alike := other.(*callbacksv1.GetUsersForStatesResponse); !alike {
			replies = append(replies, data(other))
		}
		for _, reply := range replies {
			l := &line{replies: map[string]*nats.Msg{"a": reply}}
			got, err := over(t, l, rosterOf(mayCreate, "a")).SpamChecker.UserMayCreateRoom(t.Context(), &question{})
			if err != nil || got.Answer != nil {
				t.Errorf("%T in %q: got %v, %v", other, reply.Data, got, err)
			}
		}
	}
}

func TestRequestThatIsTooLargeIsAFailure(t *testing.T) {
	t.Parallel()
	natstest.Each(t, func(t *testing.T, home *natstest.Home) {
		s := newStage(t, home, entry("a"))
		large := strings.Repeat("x", 2<<20)
		s.run("a", "w", asks(func(_ context.Context, q *question) (*verdict, error) {
			if q.GetUserId() == "@large:x" {
				return denied(large), nil
			}
			return denied(q.GetUserId()), nil
		}))
		for _, q := range []*question{{UserId: "@large:x"}, {UserId: large}} {
			got, err := s.SpamChecker.UserMayCreateRoom(t.Context(), q)
			want := []bus.Failure{{Module: "a", Kind: failed, Policy: fail}}
			if diff := cmp.Diff(want, got.Failures, wordless); diff != "" || got.Answer != nil || err == nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		}
		s.create("@small:x", "@small:x") // The connection has not suffered.
		if n := s.Waiting(); n != 0 {
			t.Errorf("%d replies are still waited for", n)
		}
	})
}
