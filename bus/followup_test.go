package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// told is a module that authenticates everybody, paces updates, and says which worker of which module heard of what.
func told(heard chan<- string) func(*modulekit.ModuleAPI) {
	return func(api *modulekit.ModuleAPI) {
		say := func(format string, args ...any) {
			heard <- api.Name() + "/" + api.Worker() + " " + fmt.Sprintf(format, args...)
		}
		api.RegisterPasswordAuthProviderCallbacks(modulekit.PasswordAuthProviderCallbacks{
			Check3PidAuth: func(_ context.Context, req *callbacksv1.Check3PidAuthRequest) (*callbacksv1.Check3PidAuthResponse, error) {
				if req.GetMedium() != api.Name() {
					return nil, nil
				}
				return &callbacksv1.Check3PidAuthResponse{UserId: "@a:x", TellLogin: true}, nil
			},
			OnAuthCheckersLogin: func(_ context.Context, req *callbacksv1.OnAuthCheckersLoginRequest) (*callbacksv1.OnAuthCheckersLoginResponse, error) {
				say("login %s %s", req.GetToken(), req.GetResponse().GetDeviceId())
				return nil, nil
			},
		})
		api.RegisterBackgroundUpdateControllerCallbacks(modulekit.BackgroundUpdateControllerCallbacks{
			OnUpdate: func(context.Context, *callbacksv1.OnUpdateRequest) (*callbacksv1.OnUpdateResponse, error) {
				return &callbacksv1.OnUpdateResponse{TargetDurationMs: new(int64(100))}, nil
			},
			OnUpdateEnd: func(_ context.Context, req *callbacksv1.OnUpdateEndRequest) (*callbacksv1.OnUpdateEndResponse, error) {
				say("end %s", req.GetToken())
				return nil, nil
			},
		})
	}
}

// What a worker answered, it alone knows more about: so it alone is told what came of it.
func TestWorkerThatAnsweredIsToldWhatCameOfIt(t *testing.T) {
	t.Parallel()
	natstest.Each(t, func(t *testing.T, home *natstest.Home) {
		s := newStage(t, home, entry("a"), entry("b"))
		heard := make(chan string, 16)
		workers := []string{"w1", "w2", "w3"}
		stop := map[string]func(){}
		for _, w := range workers {
			s.run("a", w, told(heard))
			stop[w] = s.run("b", w, told(heard))
		}
		for seen := map[string]bool{}; len(seen) < len(workers); {
			seen[s.logIn(heard, strconv.Itoa(len(seen)))] = true
		}

		d, err := s.BackgroundUpdateController.OnUpdate(t.Context(), &callbacksv1.OnUpdateRequest{})
		if err != nil || d.DecidedBy != "a" {
			t.Fatalf("got %v, %v", d, err)
		}
		_, err = s.BackgroundUpdateController.OnUpdateEnd(t.Context(), &callbacksv1.OnUpdateEndRequest{
			Module: d.DecidedBy, Worker: d.Answer.GetWorker(), Token: d.Answer.GetToken(),
		})
		if got, want := <-heard, "a/"+d.Answer.GetWorker()+" end "+d.Answer.GetToken(); got != want || err != nil {
			t.Errorf("heard %q, want %q; %v", got, want, err)
		}

		// A worker that is gone cannot be told, and another would not know of what.
		stop["w2"]()
		// The other nodes of a cluster hear of it a little later, and what is sent until then gets no answer.
		var failed *bus.Error
		for deadline := time.Now().Add(time.Minute); failed == nil || failed.Kind != absent; {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			got, err := s.PasswordAuthProvider.OnAuthCheckersLogin(ctx, &callbacksv1.OnAuthCheckersLoginRequest{Module: "b", Worker: "w2", Token: "x"})
			cancel()
			if !errors.As(err, &failed) || failed.Module != "b" || time.Now().After(deadline) {
				t.Fatalf("got %v, %v", got, err)
			}
		}
		if len(heard) > 0 {
			t.Errorf("heard %q", <-heard)
		}
	})
}

// logIn has module b authenticate a login and tells what came of it. It returns the worker that must have heard of it.
func (s *stage) logIn(heard <-chan string, device string) (worker string) {
	s.t.Helper()
	d, err := s.PasswordAuthProvider.Check3PidAuth(s.t.Context(), &callbacksv1.Check3PidAuthRequest{Medium: "b"})
	if err != nil || d.DecidedBy != "b" {
		s.t.Fatalf("got %v, %v", d, err)
	}
	end, err := s.PasswordAuthProvider.OnAuthCheckersLogin(s.t.Context(), &callbacksv1.OnAuthCheckersLoginRequest{
		Module: d.DecidedBy, Worker: d.Answer.GetWorker(), Token: d.Answer.GetToken(), Response: &callbacksv1.LoginResponse{DeviceId: &device},
	})
	if err != nil || end.Failures != nil {
		s.t.Errorf("got %v, %v", end, err)
	}
	want := "b/" + d.Answer.GetWorker() + " login " + d.Answer.GetToken() + " " + device
	if got := <-heard; got != want {
		s.t.Errorf("heard %q, want %q", got, want)
	}
	return d.Answer.GetWorker()
}

func TestFollowUpThatNamesNobodyIsToldToNobody(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	heard := make(chan string, 16)
	s.run("a", "w1", told(heard))
	sent := s.spy("modulebus.*.cb.>")
	for _, req := range []*callbacksv1.OnUpdateEndRequest{{}, {Worker: "w1"}, {Module: "b", Worker: "w1"}, {Module: "a.*"}} {
		got, err := s.BackgroundUpdateController.OnUpdateEnd(t.Context(), req)
		if diff := cmp.Diff(bus.Decision[*callbacksv1.OnUpdateEndResponse]{RosterRevision: got.RosterRevision}, got); err != nil || diff != "" {
			t.Errorf("%v: got %v, %v", req, got, err)
		}
	}
	if m := sent.heard(); len(m) > 0 {
		t.Errorf("sent %s", m[0].Subject)
	}
	// A worker that does not say who it is, is any: there may be but one.
	if _, err := s.BackgroundUpdateController.OnUpdateEnd(t.Context(), &callbacksv1.OnUpdateEndRequest{Module: "a", Token: "x"}); err != nil {
		t.Error(err)
	}
	if got := <-heard; got != "a/w1 end x" {
		t.Errorf("heard %q", got)
	}
	// A name is one token of a subject, whatever it is: no star finds anybody.
	if err := sent.sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	if err := sent.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, worker := range []string{"*", ">", "w2"} {
		var failed *bus.Error
		_, err := s.BackgroundUpdateController.OnUpdateEnd(t.Context(), &callbacksv1.OnUpdateEndRequest{Module: "a", Worker: worker})
		if !errors.As(err, &failed) || failed.Kind != absent || len(heard) > 0 {
			t.Errorf("worker %s: %v", worker, err)
		}
	}
}

// What a login could be followed up by is no login, as in Synapse, where a user who is None is malformed and skipped.
func TestLoginOfNobodyIsLeftToTheNextModule(t *testing.T) {
	t.Parallel()
	d := subjects.Check3PidAuth.Declaration
	l := &line{replies: map[string]*nats.Msg{
		"a": data(&callbacksv1.Check3PidAuthResponse{TellLogin: true, Token: "t", Worker: "w"}),
		"b": data(&callbacksv1.Check3PidAuthResponse{UserId: "@b:x"}),
	}}
	got, err := over(t, l, rosterOf(d, "a", "b")).PasswordAuthProvider.Check3PidAuth(t.Context(), &callbacksv1.Check3PidAuthRequest{})
	if err != nil || got.DecidedBy != "b" || got.Answer.GetUserId() != "@b:x" || got.Failures != nil {
		t.Errorf("got %v, %v", got, err)
	}
}
