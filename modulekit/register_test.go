package modulekit_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/modulekit/modulekittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// constructed is a module without configuration.
func constructed(construct func(api *modulekit.ModuleAPI) error) modulekit.Module[struct{}] {
	return modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error { return construct(api) }}
}

// registering is a module that registers the same spam checker callbacks each time it is constructed.
func registering(c modulekit.SpamCheckerCallbacks) modulekit.Module[struct{}] {
	return constructed(func(api *modulekit.ModuleAPI) error { api.RegisterSpamCheckerCallbacks(c); return nil })
}

type (
	createRoom  = callbacksv1.UserMayCreateRoomRequest
	createdRoom = callbacksv1.UserMayCreateRoomResponse
)

func abstain(context.Context, *createRoom) (*createdRoom, error) { return nil, nil }

func page(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, text+" "+r.URL.Path) })
}

func TestModuleThatRegistersWhatItCannotIsNotStarted(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		construct func(api *modulekit.ModuleAPI) error
		want      string
	}{
		"a callback twice": {func(api *modulekit.ModuleAPI) error {
			api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{UserMayCreateRoom: abstain})
			api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{UserMayCreateRoom: abstain})
			return nil
		}, "spam_checker.user_may_create_room is registered twice"},
		"half a pair": {func(api *modulekit.ModuleAPI) error {
			api.RegisterPresenceRouterCallbacks(modulekit.PresenceRouterCallbacks{
				GetInterestedUsers: func(context.Context, *callbacksv1.GetInterestedUsersRequest) (*callbacksv1.GetInterestedUsersResponse, error) {
					return nil, nil
				},
			})
			return nil
		}, "presence_router: all of its 2 callbacks must be registered or none, not 1"},
		"a path of the homeserver's": {func(api *modulekit.ModuleAPI) error {
			api.RegisterWebResource("/_matrix/client/x", page(""))
			return nil
		}, `web resource "/_matrix/client/x": /_matrix belongs to the Matrix specification`},
		"a path twice": {func(api *modulekit.ModuleAPI) error {
			api.RegisterWebResource("/_synapse/client/x", page(""))
			api.RegisterWebResource("/_synapse/client/x", page(""))
			return nil
		}, `web resource "/_synapse/client/x" is registered twice`},
		"a path without a handler": {func(api *modulekit.ModuleAPI) error {
			api.RegisterWebResource("/_synapse/client/x", nil)
			return nil
		}, `web resource "/_synapse/client/x" has no handler`},
		"two mistakes": {func(api *modulekit.ModuleAPI) error {
			api.RegisterWebResource("x", page(""))
			api.RegisterWebResource("/y/", page(""))
			return nil
		}, `web resource "/y/": write the path as "/y"`},
		"New fails":  {func(*modulekit.ModuleAPI) error { return errors.New("no database") }, "modulekit: cannot construct module test: no database"},
		"New panics": {func(*modulekit.ModuleAPI) error { panic("no database") }, "modulekit: cannot construct module test: its New panicked; see the log"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := modulekittest.TryStart(t, constructed(tt.construct), "")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestNewMayRefuseTheConfigToo(t *testing.T) {
	t.Parallel()
	_, err := modulekittest.TryStart(t, constructed(func(*modulekit.ModuleAPI) error {
		return &modulekit.ConfigError{Path: "database", Reason: "cannot be reached"}
	}), "")
	var refused *modulekit.ConfigError
	if !errors.As(err, &refused) || refused.Path != "database" {
		t.Errorf("got %v", err)
	}
}

func TestModuleKnowsWhereItRuns(t *testing.T) {
	t.Parallel()
	modulekittest.Start(t, constructed(func(api *modulekit.ModuleAPI) error {
		if api.ServerName() != "example.com" || api.Name() != "test" || api.Worker() == "" || api.Log() == nil {
			t.Errorf("got %q, %q, %q, %v", api.ServerName(), api.Name(), api.Worker(), api.Log())
		}
		return nil
	}), "")
}

func TestCallbackThatIsNotNilIsRegistered(t *testing.T) {
	t.Parallel()
	hs := modulekittest.Start(t, registering(modulekit.SpamCheckerCallbacks{
		UserMayCreateRoom: abstain,
		UserMayInvite: func(context.Context, *callbacksv1.UserMayInviteRequest) (*callbacksv1.UserMayInviteResponse, error) {
			return nil, nil
		},
	}), "")
	var got []string
	for _, d := range hs.Callbacks() {
		got = append(got, d.FullName())
	}
	if diff := cmp.Diff([]string{"spam_checker.user_may_invite", "spam_checker.user_may_create_room"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestModuleThatRegisteredNothingHasNoOpinion(t *testing.T) {
	t.Parallel()
	hs := modulekittest.Start(t, registering(modulekit.SpamCheckerCallbacks{}), "")
	if answer, err := hs.SpamChecker.UserMayCreateRoom(t.Context(), &createRoom{}); answer != nil || err != nil {
		t.Errorf("got %v, %v", answer, err)
	}
}

func TestCallbackIsAnswered(t *testing.T) {
	t.Parallel()
	refusal := &createdRoom{Refusal: modulekit.Refuse("M_FORBIDDEN", "Not you")}
	tests := map[string]struct {
		callback func(context.Context, *createRoom) (*createdRoom, error)
		want     *createdRoom
		err      string
	}{
		"nil is no opinion":                {abstain, nil, ""},
		"an empty answer is no opinion":    {func(context.Context, *createRoom) (*createdRoom, error) { return &createdRoom{}, nil }, nil, ""},
		"a refusal is an answer":           {func(context.Context, *createRoom) (*createdRoom, error) { return refusal, nil }, refusal, ""},
		"an error is a failure":            {func(context.Context, *createRoom) (*createdRoom, error) { return nil, errors.New("no database") }, nil, "error: no database"},
		"an error is one beside an answer": {func(context.Context, *createRoom) (*createdRoom, error) { return refusal, errors.New("oh") }, nil, "error: oh"},
		"a panic is a failure, unrepeated": {func(context.Context, *createRoom) (*createdRoom, error) { panic("531747") }, nil, "panic: see the module's log"},
		"a bug is a failure": {func(_ context.Context, r *createRoom) (*createdRoom, error) {
			return nil, []error{}[len(r.GetUserId())]
		}, nil, "panic: see the module's log"},
		"an answer that cannot be sent": {func(context.Context, *createRoom) (*createdRoom, error) {
			return &createdRoom{Refusal: modulekit.Refuse("\xff", "")}, nil
		}, nil, "malformed: cannot write the answer"},
		"the request is a copy of its own": {func(_ context.Context, r *createRoom) (*createdRoom, error) { r.UserId = "@else:x"; return nil, nil }, nil, ""},
		"what is asked about is the request": {func(_ context.Context, r *createRoom) (*createdRoom, error) {
			return &createdRoom{Refusal: modulekit.Refuse(r.GetUserId(), "")}, nil
		}, &createdRoom{Refusal: modulekit.Refuse("@a:x", "")}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hs := modulekittest.Start(t, registering(modulekit.SpamCheckerCallbacks{UserMayCreateRoom: tt.callback}), "")
			req := &createRoom{UserId: "@a:x"}
			got, err := hs.SpamChecker.UserMayCreateRoom(t.Context(), req)
			if diff := cmp.Diff(tt.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.HasPrefix(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
			if req.GetUserId() != "@a:x" {
				t.Errorf("the homeserver's request became %v", req)
			}
		})
	}
}

func TestHandlerThatGivesUpWhenNobodyWaitsHasTimedOut(t *testing.T) {
	t.Parallel()
	hs := modulekittest.Start(t, registering(modulekit.SpamCheckerCallbacks{
		UserMayCreateRoom: func(ctx context.Context, _ *createRoom) (*createdRoom, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
	}), "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hs.SpamChecker.UserMayCreateRoom(ctx, &createRoom{}); err == nil || !strings.HasPrefix(err.Error(), "timeout: ") {
		t.Errorf("got %v", err)
	}
}

func TestCallbacksAreCalledConcurrently(t *testing.T) {
	t.Parallel()
	const many = 8
	in, out := make(chan struct{}), make(chan struct{})
	hs := modulekittest.Start(t, registering(modulekit.SpamCheckerCallbacks{
		UserMayCreateRoom: func(context.Context, *createRoom) (*createdRoom, error) {
			in <- struct{}{}
			<-out
			return nil, nil
		},
	}), "")
	done := make(chan error)
	for range many {
		go func() {
			_, err := hs.SpamChecker.UserMayCreateRoom(context.Background(), &createRoom{})
			done <- err
		}()
	}
	for range many { // All are in before any is out.
		<-in
	}
	close(out)
	for range many {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestWebResourcesAreServedByTheLongestPath(t *testing.T) {
	t.Parallel()
	hs := modulekittest.Start(t, constructed(func(api *modulekit.ModuleAPI) error {
		for _, path := range []string{"/_synapse/client/demo", "/_synapse/client/demo/admin", "/_synapse/client/démo"} {
			api.RegisterWebResource(path, page(path))
		}
		return nil
	}), "")
	tests := []struct {
		path, want string
		status     int
	}{
		{"/_synapse/client/demo", "/_synapse/client/demo /_synapse/client/demo", 200},
		{"/_synapse/client/demo/", "/_synapse/client/demo /_synapse/client/demo/", 200},
		{"/_synapse/client/demo/x/y", "/_synapse/client/demo /_synapse/client/demo/x/y", 200},
		{"/_synapse/client/demo/admin", "/_synapse/client/demo/admin /_synapse/client/demo/admin", 200},
		{"/_synapse/client/demo/admin/x", "/_synapse/client/demo/admin /_synapse/client/demo/admin/x", 200},
		{"/_synapse/client/demo/administer", "/_synapse/client/demo /_synapse/client/demo/administer", 200},
		{"/_synapse/client/d%C3%A9mo/x", "/_synapse/client/démo /_synapse/client/démo/x", 200},
		{"/_synapse/client/demonstration", "404 page not found\n", 404},
		{"/_synapse/client", "404 page not found\n", 404},
		{"/", "404 page not found\n", 404},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			hs.Web.ServeHTTP(w, httptest.NewRequest("GET", tt.path, nil))
			if w.Code != tt.status || w.Body.String() != tt.want {
				t.Errorf("got %d, %q, want %d, %q", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
}
