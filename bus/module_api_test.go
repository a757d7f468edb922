package bus_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/subjects"
)

// What reaches the homeserver as JSON is JSON, in protobuf as in the JSON mapping.
func TestCallWithWhatIsNoJSONIsNotMade(t *testing.T) {
	t.Parallel()
	listed := entry("a")
	listed.Grants = []string{"rooms.send"}
	s := newStage(t, natstest.InProcess(t), listed)
	made := make(chan string, 1)
	stop, err := s.ServeCalls(func(_ context.Context, _ *subjects.Method, req proto.Message) (proto.Message, error) {
		made <- string(req.(*moduleapiv1.CreateAndSendEventIntoRoomRequest).GetEventDict())
		return &moduleapiv1.CreateAndSendEventIntoRoomResponse{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	call := func(event string) *matrix.Error {
		raw, err := proto.Marshal(&moduleapiv1.CreateAndSendEventIntoRoomRequest{EventDict: []byte(event)})
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.nc.RequestWithContext(t.Context(), names.API(subjects.APICreateAndSendEventIntoRoom.Method, "a"), raw)
		if err != nil {
			t.Fatal(err)
		}
		return wire.MatrixErrorOf(m)
	}
	for _, event := range []string{"{", "[]", "secret"} {
		want := matrix.Error{Status: http.StatusBadRequest, Errcode: "M_BAD_JSON", Text: "field event_dict: must be a JSON object"}
		if got := call(event); got == nil || *got != want {
			t.Errorf("%s: got %v, want %v", event, got, want)
		}
	}
	if got := call(`{"type":"m"}`); got != nil || <-made != `{"type":"m"}` {
		t.Errorf("got %v", got)
	}
	if len(made) > 0 {
		t.Errorf("%s was made", <-made)
	}
}

// TestFailedCallRepeatsNoSecret has implementations of the Module API that fail with the access token that they were called with.
func TestFailedCallRepeatsNoSecret(t *testing.T) {
	t.Parallel()
	const secret = "syt_secret_token"
	listed, said := entry("a"), &waittest.Log{}
	listed.Grants = []string{"tokens"}
	log := zerolog.New(said)
	s := newStageWith(t, natstest.InProcess(t), bus.Options{Log: &log}, listed)
	panics := false
	stop, err := s.ServeCalls(func(_ context.Context, _ *subjects.Method, req proto.Message) (proto.Message, error) {
		err := fmt.Errorf("nobody has %s", req.(*moduleapiv1.InvalidateAccessTokenRequest).GetAccessToken())
		if panics {
			panic(err)
		}
		return nil, err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	raw, err := proto.Marshal(&moduleapiv1.InvalidateAccessTokenRequest{AccessToken: secret})
	if err != nil {
		t.Fatal(err)
	}
	for _, panics = range []bool{false, true} {
		m, err := s.nc.RequestWithContext(t.Context(), names.API(subjects.APIInvalidateAccessToken.Method, "a"), raw)
		if err != nil {
			t.Fatal(err)
		}
		if e := wire.MatrixErrorOf(m); e == nil || e.Status != http.StatusInternalServerError || strings.Contains(e.Text, secret) {
			t.Errorf("got %v", e)
		}
	}
	if said.Count(secret) > 0 || said.Count("nobody has [redacted]") != 2 {
		t.Errorf("the log says %s", said)
	}
}

func TestCallsBeyondTheLimitAreCountedAndLogged(t *testing.T) {
	t.Parallel()
	said, metrics := &waittest.Log{}, prometheus.NewRegistry()
	log := zerolog.New(said)
	s := newStageWith(t, natstest.InProcess(t), bus.Options{Log: &log, Registerer: metrics}, entry("a"))
	release := make(chan struct{})
	var under sync.WaitGroup
	under.Add(bus.MaxCalls)
	stop, err := s.ServeCalls(func(context.Context, *subjects.Method, proto.Message) (proto.Message, error) {
		under.Done()
		<-release
		return &moduleapiv1.GetUserinfoByIdResponse{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(release); stop() })
	subject := names.API(subjects.APIGetUserinfoById.Method, "a")
	for range bus.MaxCalls {
		if err := s.nc.PublishRequest(subject, nats.NewInbox(), nil); err != nil {
			t.Fatal(err)
		}
	}
	under.Wait()
	const beyond = 100
	for range beyond {
		m, err := s.nc.RequestWithContext(t.Context(), subject, nil)
		if err != nil {
			t.Fatal(err)
		}
		if e := wire.MatrixErrorOf(m); e == nil || e.Status != http.StatusTooManyRequests {
			t.Errorf("answered %v", e)
		}
	}
	if n := counted(t, metrics, "modulebus_module_api_calls_not_taken_total"); n != beyond {
		t.Errorf("%g calls were counted", n)
	}
	if n := said.Count("answered 429"); n < 1 || n >= beyond { // Once in ten seconds, however long all of this takes.
		t.Errorf("the log says so %d times", n)
	}
}

func TestModuleThatTakesAllPlacesLeavesOthersTheirOwn(t *testing.T) {
	t.Parallel()
	s := newStageWith(t, natstest.InProcess(t), bus.Options{}, entry("greedy"), entry("honest"))
	release := make(chan struct{})
	var under sync.WaitGroup
	under.Add(bus.MaxCalls)
	stop, err := s.ServeCalls(func(_ context.Context, m *subjects.Method, _ proto.Message) (proto.Message, error) {
		if m == subjects.APIGetUserinfoById.Method {
			under.Done()
			<-release
		}
		return m.NewReply(), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(release); stop() })
	for range bus.MaxCalls {
		if err := s.nc.PublishRequest(names.API(subjects.APIGetUserinfoById.Method, "greedy"), nats.NewInbox(), nil); err != nil {
			t.Fatal(err)
		}
	}
	under.Wait()
	asks := func(module string, want int) {
		t.Helper()
		m, err := s.nc.RequestWithContext(t.Context(), names.API(subjects.APICheckUserExists.Method, module), nil)
		if err != nil {
			t.Fatal(err)
		}
		status := 0
		if e := wire.MatrixErrorOf(m); e != nil {
			status = e.Status
		}
		if status != want {
			t.Errorf("%s is answered %d", module, status)
		}
	}
	asks("greedy", http.StatusTooManyRequests)
	asks("honest", 0)
	under.Add(bus.OwnCalls)
	for i := range bus.OwnCalls { // Where NATS asks for no credentials, a name costs nothing.
		name := fmt.Sprint("invented", i)
		if err := s.nc.PublishRequest(names.API(subjects.APIGetUserinfoById.Method, name), nats.NewInbox(), nil); err != nil {
			t.Fatal(err)
		}
	}
	under.Wait()
	asks("another", http.StatusTooManyRequests)
	asks("honest", 0)
}

// counted is what a counter without labels has counted, and -1 where there is none of that name.
func counted(t *testing.T, metrics prometheus.Gatherer, name string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return -1
}
