package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// crowd is the state of a room with that many members.
func crowd(members int) bus.StateFunc {
	return func(context.Context, *rosterv1.StateFilter) (all []*callbacksv1.StateEvent, _ error) {
		for i := range members {
			user := fmt.Sprintf("@user%d:example.com", i)
			all = append(all, &callbacksv1.StateEvent{Type: "m.room.member", StateKey: user, Event: &callbacksv1.Event{
				Json: []byte(`{"type":"m.room.member","state_key":"` + user + `","content":{"membership":"join"}}`),
			}})
		}
		return all, nil
	}
}

// counts is a module that needs all state, and refuses with how many events it got and the last of them.
func counts(api *modulekit.ModuleAPI) {
	api.NeedState(subjects.CheckEventAllowed, modulekit.AllState())
	api.RegisterThirdPartyRulesCallbacks(modulekit.ThirdPartyRulesCallbacks{
		CheckEventAllowed: func(_ context.Context, req *callbacksv1.CheckEventAllowedRequest) (*callbacksv1.CheckEventAllowedResponse, error) {
			all := req.GetStateEvents()
			last := all[len(all)-1]
			text := fmt.Sprint(len(all), " ", last.GetStateKey(), " ", bytes.Contains(last.GetEvent().GetJson(), []byte(last.GetStateKey())))
			return &callbacksv1.CheckEventAllowedResponse{Refusal: modulekit.Refuse("M_COUNTED", text)}, nil
		},
	})
}

func (s *stage) allowed(members int) (string, []bus.Failure, error) {
	ctx := bus.WithState(s.t.Context(), crowd(members))
	d, err := s.ThirdPartyRules.CheckEventAllowed(ctx, &callbacksv1.CheckEventAllowedRequest{Event: &callbacksv1.Event{Json: []byte("{}")}})
	return d.Answer.GetRefusal().GetError(), d.Failures, err
}

func TestRoomOfAHundredThousandMembersIsAskedAbout(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("counts"))
	s.run("counts", "w", counts)
	for _, members := range []int{10, 100_000, 10} {
		want := fmt.Sprintf("%d @user%d:example.com true", members, members-1)
		if got, failures, err := s.allowed(members); got != want || err != nil || failures != nil {
			t.Errorf("got %q, %v, %v; want %q", got, failures, err, want)
		}
	}
}

func TestLargeQuestionsDoNotMixUp(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("counts"), entry("other"))
	s.run("counts", "w", counts)
	s.run("other", "w", counts)
	var asking sync.WaitGroup
	for i := range 8 {
		members := 10_000 + i
		asking.Go(func() {
			if got, _, err := s.allowed(members); !strings.HasPrefix(got, strconv.Itoa(members)+" ") || err != nil {
				t.Errorf("of %d members: %q, %v", members, got, err)
			}
		})
	}
	asking.Wait()
}

// joinBy joins as a worker that is asked in JSON, and hears what it is asked.
func (s *stage) joinBy(module string, pulls bool) <-chan *nats.Msg {
	s.t.Helper()
	asked := make(chan *nats.Msg, 8)
	nc := natstest.Connect(s.t, s.home)
	if _, err := nc.ChanQueueSubscribe(names.Callback(subjects.CheckEventAllowed.Declaration, module), module, asked); err != nil {
		s.t.Fatal(err)
	}
	join, err := proto.Marshal(&rosterv1.Join{
		Worker: "w", Json: true, Pulls: pulls, Callbacks: []string{subjects.CheckEventAllowed.FullName()},
		Needs: map[string]*rosterv1.Needs{subjects.CheckEventAllowed.FullName(): {State: &rosterv1.StateFilter{All: true}}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := nc.Request(names.Join(module), join, time.Minute); err != nil {
		s.t.Fatal(err)
	}
	s.until(module, func(m *rosterv1.Module) bool { return len(m.GetWorkers()) > 0 })
	return asked
}

func TestLargeQuestionIsReadAsThePageSays(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("gate"))
	asked := s.joinBy("gate", true)
	const members = 10_000
	done := make(chan error, 1)
	go func() {
		_, failures, err := s.allowed(members)
		if len(failures) > 0 {
			err = errors.New("it failed")
		}
		done <- err
	}()
	m := <-asked
	subject := m.Header.Get("Modulebus-Question")
	size, err := strconv.Atoi(m.Header.Get("Modulebus-Question-Size"))
	if err != nil || !bytes.Equal(m.Data, []byte{0}) {
		t.Fatalf("got %v with %q", m.Header, m.Data)
	}
	var question []byte
	for len(question) < size {
		piece, failed := s.readFile(subject, int64(len(question)), 1<<20)
		if failed != nil || len(piece) == 0 {
			t.Fatalf("after %d of %d bytes: %v", len(question), size, failed)
		}
		question = append(question, piece...)
	}
	req := &callbacksv1.CheckEventAllowedRequest{}
	if err := wire.Decode(question, wire.MappingOf(m), req); err != nil || len(req.GetStateEvents()) != members {
		t.Errorf("%d events, %v", len(req.GetStateEvents()), err)
	}
	if err := wire.Decode(m.Data, wire.JSON, req); err == nil {
		t.Error("what stands for a large question can be read as JSON")
	}
	if err := wire.Decode(m.Data, wire.Binary, req); err == nil {
		t.Error("what stands for a large question can be read as protobuf")
	}
	if err := m.Respond(nil); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, failed := s.readFile(subject, 0, 1); failed == nil {
		t.Error("the question can be read when it is answered")
	}
}

func TestLargeQuestionIsTheFailureOfWhoDoesNotPull(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("gate"))
	asked := s.joinBy("gate", false)
	_, _, err := s.allowed(10_000)
	var failed *bus.Error
	if !errors.As(err, &failed) || failed.Kind != rosterv1.FailureKind_ERROR || len(asked) > 0 {
		t.Errorf("got %v; it was asked %d times", err, len(asked))
	}
}
