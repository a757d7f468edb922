package bus_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/bus/bustest"
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestClientCloseEndsModuleAPI(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	called, ended := make(chan struct{}), make(chan error, 1)
	handle := func(ctx context.Context, _ *subjects.Method, _ proto.Message) (proto.Message, error) {
		close(called)
		<-ctx.Done()
		ended <- ctx.Err()
		return &moduleapiv1.PropertiesResponse{}, nil
	}
	stop, err := s.ServeCalls(handle)
	if err != nil {
		t.Fatal(err)
	}
	nc, subject := natstest.Connect(t, s.home), names.API(subjects.APIProperties.Method, "a")
	if err := nc.PublishRequest(subject, nc.NewInbox(), nil); err != nil {
		t.Fatal(err)
	}
	<-called
	s.Close()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a call under way ended with %v", err)
	}
	if _, err := s.nc.Request(subject, nil, time.Minute); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a call after Close: %v, want nobody to answer", err)
	}
	stop() // It may be called all the same.
	if _, err := s.ServeCalls(handle); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("serving after Close: %v", err)
	}
}

func TestClientCloseFailsAsks(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	asked, answer := make(chan struct{}), make(chan struct{})
	s.run("a", "w", func(api *modulekit.ModuleAPI) {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
			UserMayCreateRoom: func(context.Context, *question) (*verdict, error) {
				close(asked)
				<-answer
				return denied("A"), nil
			},
		})
	})
	var asking sync.WaitGroup
	asking.Go(func() {
		if got, err := s.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); !errors.Is(err, bus.ErrClosed) || got.Answer != nil {
			t.Errorf("an ask under way: got %v, %v", got, err)
		}
	})
	<-asked
	s.Close()
	asking.Wait()
	close(answer)
	s.Close() // Nothing happens.
	for _, d := range []*subjects.Declaration{mayCreate, subjects.CheckEventForSpam.Declaration} {
		if _, err := s.Ask(t.Context(), d, d.NewRequest()); !errors.Is(err, bus.ErrClosed) || !s.Wants(d) {
			t.Errorf("an ask after Close: %v; is it wanted: %v", err, s.Wants(d))
		}
	}
	if _, err := s.AwaitRoster(t.Context(), 1<<62); !errors.Is(err, bus.ErrClosed) {
		t.Errorf("waiting for a roster: %v", err)
	}
	if n := s.Waiting(); n != 0 {
		t.Errorf("%d replies are still waited for", n)
	}
}

func TestHandlerAnswersAfterClose(t *testing.T) {
	t.Parallel()
	c := bustest.New(t)
	c.Close()
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if w.Code < http.StatusBadRequest {
		t.Errorf("got %d", w.Code)
	}
}

func TestClientTellsThatItsConnectionIsClosed(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	logger := zerolog.New(zerolog.SyncWriter(&log))
	s := newStageWith(t, natstest.InProcess(t), bus.Options{Log: &logger}, entry("a"))
	if s.Err() != nil {
		t.Errorf("before: %v", s.Err())
	}
	s.nc.Close()
	<-s.Done()
	if err := s.Err(); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("after: %v", err)
	}
	s.Close() // Waits for what is logged.
	if !strings.Contains(log.String(), "make a new connection") {
		t.Errorf("the log says\n%s", &log)
	}
}

func TestIgnoredPartOfAnswersIsLoggedOnce(t *testing.T) {
	t.Parallel()
	log := &waittest.Log{}
	logger := zerolog.New(log)
	answer := &nats.Msg{Header: nats.Header{wire.HeaderContentType: {wire.JSONType}}, Data: []byte(`{"refusal":{"errcode":"A"},"verdict":"no"}`)}
	l := &line{replies: map[string]*nats.Msg{"a": answer}}
	ctx := busopts.With(t.Context(), busopts.Client{Requester: l, Roster: rosterOf(subjects.UserMayCreateRoom.Declaration, "a")})
	c, err := bus.New(ctx, nil, bus.Options{ServerName: serverName, Log: &logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	for range 3 {
		if got, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); err != nil || got.Answer.GetRefusal().GetErrcode() != "A" {
			t.Fatalf("got %v, %v", got, err)
		}
	}
	if log.Count(`\"verdict\"`) != 1 || !log.Has(`"module":"a"`) {
		t.Errorf("the log says\n%s", log)
	}
}

func TestClientWithoutRosterHasNoOpinionOnNothing(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.InProcess(t))
	c, err := bus.New(busopts.With(t.Context(), busopts.Client{NoWait: true}), nc, bus.Options{ServerName: serverName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if got, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); !errors.Is(err, bus.ErrNoRoster) || !c.Wants(mayCreate) {
		t.Errorf("got %v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := bus.New(ctx, nc, bus.Options{ServerName: serverName}); err == nil || !strings.Contains(err.Error(), "is busd running") {
		t.Errorf("got %v", err)
	}
}

func TestErrorHasACause(t *testing.T) {
	t.Parallel()
	for kind, want := range map[rosterv1.FailureKind]func(*bus.Error) bool{
		timeout: func(e *bus.Error) bool { return errors.Is(e, context.DeadlineExceeded) },
		failed:  func(e *bus.Error) bool { return errors.Unwrap(e).Error() == "scripted" && e.Text == "scripted" },
		absent:  func(e *bus.Error) bool { return errors.Unwrap(e) == nil },
	} {
		_, err := bustest.New(t, fails("a", kind, fail)).SpamChecker.UserMayCreateRoom(t.Context(), &question{})
		if e, ok := errors.AsType[*bus.Error](err); !ok || !want(e) {
			t.Errorf("%v: got %#v", kind, err)
		}
	}
}

// traces returns those of one ask of the modules that the roster lists.
func traces(t *testing.T, roster *rosterv1.Roster, said *line) (got []bus.Trace) {
	t.Helper()
	observe := func(tr *bus.Trace) {
		kept := *tr
		kept.Modules = append([]bus.ModuleTrace(nil), tr.Modules...)
		got = append(got, kept)
	}
	ctx := busopts.With(t.Context(), busopts.Client{Requester: said, Roster: roster})
	c, err := bus.New(ctx, nil, bus.Options{ServerName: serverName, Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{UserId: "@a:x"}); err != nil {
		t.Fatal(err)
	}
	return got
}

// TestTraceHasErrcodesOfOneLine has a module refuse with what a terminal that shows it would obey.
func TestTraceHasErrcodesOfOneLine(t *testing.T) {
	t.Parallel()
	said := &line{replies: map[string]*nats.Msg{"hostile": data(denied("M\x1b[2J\nM_FORGED" + strings.Repeat("x", 1<<10)))}, order: []string{"hostile"}}
	got := traces(t, rosterOf(mayCreate, "hostile"), said)[0].Modules[0].Errcode
	if !strings.HasPrefix(got, "M [2J M_FORGED") || len(got) > wire.MaxText {
		t.Errorf("the trace has %q", got)
	}
}

// A trace says what each module said, and what counted.
func TestTrace(t *testing.T) {
	t.Parallel()
	roster := rosterOf(mayCreate, "silent", "failing", "refusing", "behind")
	roster.Modules[2].Workers = []string{"w"}
	got := traces(t, roster, &line{
		replies: map[string]*nats.Msg{"silent": {}, "failing": failure(failed), "refusing": data(denied("A")), "behind": data(denied("B"))},
		order:   []string{"behind", "silent", "failing", "refusing"},
	})
	want := []bus.Trace{{
		Callback: mayCreate, Request: &question{UserId: "@a:x"}, Outcome: bus.OutcomeRefused, Answer: denied("A"), DecidedBy: "refusing", RosterRevision: 1,
		Context: t.Context(), Budget: wire.DefaultBudget,
		Modules: []bus.ModuleTrace{
			{Module: "silent", Asked: true, Said: bus.SaidSilence, Counted: true},
			{Module: "failing", Asked: true, Said: bus.SaidFailure, Failure: failed, Text: "oh", Policy: skip, Counted: true},
			{Module: "refusing", Worker: "w", Asked: true, Said: bus.SaidRefusal, Answer: denied("A"), Errcode: "A", Counted: true},
			{Module: "behind", Asked: true, Said: bus.SaidRefusal, Answer: denied("B"), Errcode: "B"},
		},
	}}
	same := cmp.Comparer(proto.Equal)
	pointer := cmp.Comparer(func(a, b *subjects.Declaration) bool { return a == b })
	times := []cmp.Option{
		cmpopts.IgnoreFields(bus.Trace{}, "Start", "Took"), cmpopts.IgnoreFields(bus.ModuleTrace{}, "AskedAt", "Given", "Took"), same, pointer,
		cmp.Comparer(func(a, b context.Context) bool { return a == b }),
	}
	if diff := cmp.Diff(want, got, times...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A policy's refusal is not a module's.
func TestDecisionTellsAPolicysRefusal(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		script bustest.Script
		want   bool
	}{{fails("a", failed, refuse), true}, {denies("a"), false}} {
		got, err := bustest.New(t, tt.script).SpamChecker.UserMayCreateRoom(t.Context(), &question{})
		if got.ByPolicy != tt.want || got.DecidedBy != "a" || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
	}
}

// A question that NATS does not carry is the module's failure, under its policy, with what to do about it.
func TestQuestionLargerThanMaxPayloadIsTheModulesFailure(t *testing.T) {
	t.Parallel()
	client, nc := onNATS(t, "absent")
	req := &callbacksv1.UserMayCreateRoomRequest{RoomConfig: []byte(`{"topic":"` + strings.Repeat("x", int(nc.MaxPayload())) + `"}`)}
	got, err := client.SpamChecker.UserMayCreateRoom(t.Context(), req)
	if err != nil || len(got.Failures) != 1 || got.Failures[0].Kind != failed || !strings.Contains(got.Failures[0].Text, "max_payload of NATS, 1048576 bytes") {
		t.Errorf("got %v, %v", got, err)
	}
}

// A roster that anybody can have announced is not believed: busd is asked.
func TestForgedRosterIsNotBelieved(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	s.run("a", "w", func(api *modulekit.ModuleAPI) {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
			UserMayCreateRoom: func(context.Context, *question) (*verdict, error) { return denied("A"), nil },
		})
	})
	nc := natstest.Connect(t, s.home)
	for _, revision := range []uint64{s.Roster().GetRevision() + 1, 1 << 62} {
		if err := nc.Publish(names.RosterChanged(), data(&rosterv1.Roster{Revision: revision}).Data); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := s.nc.Flush(); err != nil { // It has arrived here.
			t.Fatal(err)
		}
		if got, err := s.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); got.DecidedBy != "a" || err != nil {
			t.Errorf("revision %d: got %v, %v", revision, got, err)
		}
	}
}

// Failures are read whatever the case of their headers.
func TestFailureInLowerCaseIsAFailure(t *testing.T) {
	t.Parallel()
	reply := &nats.Msg{Header: nats.Header{strings.ToLower(wire.HeaderErrorCode): {"error"}, strings.ToLower(wire.HeaderError): {"oh"}}}
	got, err := over(t, &line{replies: map[string]*nats.Msg{"a": reply}}, rosterOf(mayCreate, "a")).SpamChecker.UserMayCreateRoom(t.Context(), &question{})
	want := []bus.Failure{{Module: "a", Kind: failed, Policy: skip, Text: "oh"}}
	if diff := cmp.Diff(want, got.Failures); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
