package asks_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	forward "github.com/modulebus/modulebus/internal/busd/homeserver"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/subjects"
)

const apiServer = "example.com"

// apiStage is a homeserver with one module, caller, on the same NATS.
type apiStage struct {
	client *bus.Client
	api    *modulekit.ModuleAPI
	nc     *nats.Conn
}

// newAPIStage runs a module with the grants; construct may register callbacks.
func newAPIStage(t *testing.T, grants []string, construct func(*modulekit.ModuleAPI)) *apiStage {
	t.Helper()
	home := natstest.TCP(t)
	s := &apiStage{nc: natstest.Connect(t, home)}
	reg := roster.New()
	reg.Configure([]config.Module{{Name: "caller", Config: json.RawMessage("{}"), Timeout: 5 * time.Second, Grants: grants}}, 10*time.Second, time.Now())
	service, err := roster.Serve(natstest.Connect(t, home), apiServer, reg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	constructed := make(chan *modulekit.ModuleAPI, 1)
	runModule(t, natstest.Connect(t, home), func(api *modulekit.ModuleAPI) {
		if construct != nil {
			construct(api)
		}
		constructed <- api
	})
	s.api = <-constructed
	if s.client, err = bus.New(t.Context(), s.nc, bus.Options{ServerName: apiServer}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.client.Close)
	s.awaitModule(t)
	return s
}

func runModule(t *testing.T, nc *nats.Conn, construct func(*modulekit.ModuleAPI)) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	m := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error { construct(api); return nil }}
	go func() { ended <- modulekit.Run(ctx, nc, m, modulekit.Options{ServerName: apiServer, Module: "caller"}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// awaitModule waits until the homeserver's roster has the worker.
func (s *apiStage) awaitModule(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for after := uint64(0); ; {
		r, err := s.client.AwaitRoster(ctx, after)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.GetModules()[0].GetWorkers()) > 0 {
			return
		}
		after = r.GetRevision()
	}
}

func (s *apiStage) serve(t *testing.T, f bus.CallFunc) {
	t.Helper()
	stop, err := s.client.ServeCalls(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
}

// Every method that is declared can be called by a Go module and reaches the homeserver under its own name.
func TestMethodOfTheModuleAPIReachesTheHomeserver(t *testing.T) {
	t.Parallel()
	s := newAPIStage(t, subjects.Scopes(), nil)
	var mu sync.Mutex
	called := ""
	s.serve(t, func(_ context.Context, m *subjects.Method, req proto.Message) (proto.Message, error) {
		mu.Lock()
		defer mu.Unlock()
		called = m.Name
		if !proto.Equal(req, m.NewRequest()) {
			t.Errorf("%s got %v", m.Name, req)
		}
		return m.NewReply(), nil
	})
	api := reflect.ValueOf(s.api)
	for _, m := range subjects.Methods() {
		method := api.MethodByName(goName(m))
		request := reflect.New(method.Type().In(1).Elem())
		out := method.Call([]reflect.Value{reflect.ValueOf(t.Context()), request})
		if err := out[1].Interface(); err != nil || called != m.Name {
			t.Errorf("%s called %q: %v", m.Name, called, err)
		}
	}
}

// goName is how the method's Go is called: the name of its request without the suffix.
func goName(m *subjects.Method) string {
	return strings.TrimSuffix(string(m.NewRequest().ProtoReflect().Descriptor().Name()), "Request")
}

// A Go homeserver that embeds UnimplementedModuleAPI.
type homeserver struct {
	bus.UnimplementedModuleAPI
	exists func(ctx context.Context, user string) (string, error)
}

func (h homeserver) CheckUserExists(
	ctx context.Context, req *moduleapiv1.CheckUserExistsRequest,
) (*moduleapiv1.CheckUserExistsResponse, error) {
	user, err := h.exists(ctx, req.GetUserId())
	if err != nil {
		return nil, err
	}
	return &moduleapiv1.CheckUserExistsResponse{UserId: &user}, nil
}

func (s *apiStage) implement(t *testing.T, h homeserver) {
	t.Helper()
	stop, err := s.client.ServeModuleAPI(h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
}

func (s *apiStage) exists(ctx context.Context) (string, error) {
	r, err := s.api.CheckUserExists(ctx, &moduleapiv1.CheckUserExistsRequest{UserId: "@ALICE:example.com"})
	return r.GetUserId(), err
}

func TestGoHomeserverAnswersModules(t *testing.T) {
	t.Parallel()
	s := newAPIStage(t, nil, nil)
	s.implement(t, homeserver{exists: func(_ context.Context, user string) (string, error) { return strings.ToLower(user), nil }})
	if got, err := s.exists(t.Context()); err != nil || got != "@alice:example.com" {
		t.Errorf("got %q, %v", got, err)
	}
	_, err := s.api.Properties(t.Context(), &moduleapiv1.PropertiesRequest{})
	wantMatrix(t, err, 404, "M_UNRECOGNIZED", "does not implement properties")
}

func TestErrorsOfTheHomeserverKeepTheirCodeAndStatus(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		err             error
		status          int
		errcode, saying string
	}{
		"a Matrix error":      {&bus.MatrixError{Status: 429, Errcode: "M_LIMIT_EXCEEDED", Text: "later"}, 429, "M_LIMIT_EXCEEDED", "later"},
		"an empty one":        {&bus.MatrixError{}, 500, "M_UNKNOWN", ""},
		"an error of its own": {errors.New("dsn=postgres://secret"), 500, "M_UNKNOWN", "Internal server error"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newAPIStage(t, nil, nil)
			s.implement(t, homeserver{exists: func(context.Context, string) (string, error) { return "", tt.err }})
			_, err := s.exists(t.Context())
			wantMatrix(t, err, tt.status, tt.errcode, tt.saying)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("told the module %v", err)
			}
		})
	}
}

func wantMatrix(t *testing.T, err error, status int, errcode, saying string) {
	t.Helper()
	var e *modulekit.MatrixError
	if !errors.As(err, &e) || e.Status != status || e.Errcode != errcode || !strings.Contains(e.Text, saying) {
		t.Errorf("got %v, want %d %s %q", err, status, errcode, saying)
	}
}

func TestPanicOfTheHomeserverIsItsErrorAlone(t *testing.T) {
	t.Parallel()
	s := newAPIStage(t, nil, nil)
	s.implement(t, homeserver{exists: func(context.Context, string) (string, error) { panic("secret") }})
	for range 2 {
		_, err := s.exists(t.Context())
		wantMatrix(t, err, 500, "M_UNKNOWN", "internal error")
	}
}

func TestCallWithoutItsGrantNamesTheGrantToAdd(t *testing.T) {
	t.Parallel()
	s := newAPIStage(t, []string{"tokens"}, nil)
	s.serve(t, func(_ context.Context, m *subjects.Method, _ proto.Message) (proto.Message, error) {
		return m.NewReply(), nil
	})
	_, err := s.api.SendMail(t.Context(), &moduleapiv1.SendMailRequest{})
	wantMatrix(t, err, 403, "M_FORBIDDEN", `grant it with "grants: [mail]"`)
	if _, err := s.api.RegisterDevice(t.Context(), &moduleapiv1.RegisterDeviceRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := s.api.IsUserAdmin(t.Context(), &moduleapiv1.IsUserAdminRequest{}); err != nil {
		t.Error(err)
	}
}

func TestModuleCannotCallInTheNameOfAnother(t *testing.T) {
	t.Parallel()
	s := newAPIStage(t, []string{"mail"}, nil)
	s.serve(t, func(_ context.Context, m *subjects.Method, _ proto.Message) (proto.Message, error) {
		return m.NewReply(), nil
	})
	subject := subjects.For(apiServer).API(subjects.APISendMail.Method, "stranger")
	m, err := s.nc.Request(subject, nil, 5*time.Second)
	if err != nil || m.Header.Get("Nats-Service-Error-Code") != "403" {
		t.Errorf("got %v, %v", m, err)
	}
}

func TestCallWithoutAHomeserverSaysSoAtOnce(t *testing.T) {
	t.Parallel()
	s := newAPIStage(t, nil, nil)
	_, err := s.exists(t.Context())
	wantMatrix(t, err, 503, "M_UNKNOWN", "homeserver.url")
}

func TestCallThatIsGivenUpEndsAtTheHomeserver(t *testing.T) {
	t.Parallel()
	s := newAPIStage(t, nil, nil)
	started, ended := make(chan struct{}), make(chan error, 1)
	s.implement(t, homeserver{exists: func(ctx context.Context, _ string) (string, error) {
		close(started)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return "", ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if _, err := s.exists(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the homeserver's context ended with %v", err)
	}
}

func TestDeadlineOfACallTravels(t *testing.T) {
	t.Parallel()
	s := newAPIStage(t, nil, nil)
	left := make(chan time.Duration, 1)
	s.implement(t, homeserver{exists: func(ctx context.Context, user string) (string, error) {
		deadline, _ := ctx.Deadline()
		left <- time.Until(deadline)
		return user, nil
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := s.exists(ctx); err != nil {
		t.Fatal(err)
	}
	if d := <-left; d > 20*time.Second || d <= 0 {
		t.Errorf("the homeserver had %v", d)
	}
}

// A module that is asked may ask back, and be asked because of that: nothing is locked meanwhile.
func TestCallInsideACallbackMayLeadToMoreCallbacks(t *testing.T) {
	t.Parallel()
	s := newAPIStage(t, []string{"rooms.send"}, func(api *modulekit.ModuleAPI) {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
			CheckEventForSpam: func(ctx context.Context, req *callbacksv1.CheckEventForSpamRequest) (*callbacksv1.CheckEventForSpamResponse, error) {
				if req.GetEvent().GetEventId() == "$deep" {
					return &callbacksv1.CheckEventForSpamResponse{Refusal: modulekit.Refuse("M_DEEP", "")}, nil
				}
				_, err := api.CreateAndSendEventIntoRoom(ctx, &moduleapiv1.CreateAndSendEventIntoRoomRequest{EventDict: []byte("{}")})
				if refused, ok := errors.AsType[*modulekit.MatrixError](err); ok {
					return &callbacksv1.CheckEventForSpamResponse{Refusal: modulekit.Refuse(refused.Errcode, "")}, nil
				}
				return nil, err
			},
		})
	})
	s.serve(t, func(ctx context.Context, m *subjects.Method, _ proto.Message) (proto.Message, error) {
		d, err := s.ask(ctx, "$deep")
		if err != nil {
			return nil, err
		}
		return m.NewReply(), &bus.MatrixError{Status: 403, Errcode: d.Answer.GetRefusal().GetErrcode()}
	})
	d, err := s.ask(t.Context(), "$first")
	if err != nil || d.Answer.GetRefusal().GetErrcode() != "M_DEEP" || d.DecidedBy != "caller" {
		t.Errorf("got %+v, %v", d, err)
	}
}

func (s *apiStage) ask(ctx context.Context, event string) (bus.Decision[*callbacksv1.CheckEventForSpamResponse], error) {
	return s.client.SpamChecker.CheckEventForSpam(ctx, &callbacksv1.CheckEventForSpamRequest{
		Event: &callbacksv1.Event{EventId: event, RoomVersion: "10", Json: []byte(`{"sender":"@a:example.com"}`)},
	})
}

// busd passes calls on to a homeserver that is no Go program.
func TestBusdForwardsCallsToTheHomeserver(t *testing.T) {
	t.Parallel()
	saw := make(chan []string, 1)
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body map[string]any
		err := json.NewDecoder(r.Body).Decode(&body)
		saw <- []string{r.Method, r.URL.Path, r.Header.Get("Authorization"), body["user_id"].(string)}
		if err != nil || body["user_id"] == "@nobody:example.com" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"errcode":"M_NOT_FOUND","error":"no such user"}`))
			return
		}
		_, _ = w.Write([]byte(`{"is_admin":true,"unknown":1}`))
	}))
	t.Cleanup(hs.Close)
	s := newAPIStage(t, nil, nil)
	forwarder, err := forward.New(config.Homeserver{URL: hs.URL + "/_synapse/modulebus", TokenFile: tokenFile(t, "hs-token")}, nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(forwarder.Close)
	s.serve(t, forwarder.Call)
	r, err := s.api.IsUserAdmin(t.Context(), &moduleapiv1.IsUserAdminRequest{UserId: "@admin:example.com"})
	if err != nil || !r.GetIsAdmin() {
		t.Errorf("got %v, %v", r, err)
	}
	want := []string{"POST", "/_synapse/modulebus/v1/is_user_admin", "Bearer hs-token", "@admin:example.com"}
	if diff := cmp.Diff(want, <-saw); diff != "" {
		t.Error(diff)
	}
	_, err = s.api.IsUserAdmin(t.Context(), &moduleapiv1.IsUserAdminRequest{UserId: "@nobody:example.com"})
	wantMatrix(t, err, 404, "M_NOT_FOUND", "no such user")
	<-saw
	hs.Close()
	_, err = s.api.IsUserAdmin(t.Context(), &moduleapiv1.IsUserAdminRequest{UserId: "@admin:example.com"})
	wantMatrix(t, err, 502, "M_UNKNOWN", "homeserver.url")
}

func tokenFile(t *testing.T, token string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
