package bus_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// storing lists a module whose news is stored, whether or not it has ever joined.
func storing(name string) config.Module {
	m := entry(name)
	m.AtLeastOnce = true
	m.Callbacks = map[string]config.Override{subjects.OnNewEvent.FullName(): {OnFailure: &config.Policy{Local: config.Fail, Federated: config.Fail}}}
	return m
}

// keeping is a stage on which so many pieces of news can be stored.
func keeping(t *testing.T, most int64) (*stage, jetstream.Stream) {
	t.Helper()
	home := &natstest.Home{Servers: []*server.Server{natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})}}
	s := newStage(t, home, storing("archive"))
	js, err := jetstream.New(s.nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "news", Subjects: []string{names.NewsAny("archive")}, MaxMsgs: most, Discard: jetstream.DiscardNew,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, stream
}

func tell(s *stage, room string) (bus.Decision[*callbacksv1.OnNewEventResponse], error) {
	return s.ThirdPartyRules.OnNewEvent(s.t.Context(), &callbacksv1.OnNewEventRequest{Event: &callbacksv1.Event{RoomId: room, Json: []byte(`{}`)}})
}

func wantFailure(t *testing.T, err error, kind rosterv1.FailureKind, text string) {
	t.Helper()
	failed, ok := errors.AsType[*bus.Error](err)
	if !ok || failed.Kind != kind || failed.Text != text || failed.Module != "archive" {
		t.Errorf("got %#v, want %v: %s", err, kind, text)
	}
}

func TestNewsIsStoredForAModuleThatIsAway(t *testing.T) {
	t.Parallel()
	s, stream := keeping(t, 2)
	for i := range 2 {
		if d, err := tell(s, fmt.Sprint("!room", i)); err != nil || len(d.Failures) > 0 {
			t.Fatalf("%v, %v", d, err)
		}
	}
	m, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	got := &callbacksv1.OnNewEventRequest{}
	if err := proto.Unmarshal(m.Data, got); err != nil || got.GetEvent().GetRoomId() != "!room0" {
		t.Errorf("stored %v, %v", got, err)
	}
	// Full is a failure of the module, under its policy.
	_, err = tell(s, "!full")
	wantFailure(t, err, rosterv1.FailureKind_ERROR, "JetStream does not keep its news: maximum messages exceeded")
}

func TestNewsThatIsLargerThanAMessageIsNotStored(t *testing.T) {
	t.Parallel()
	s, stream := keeping(t, 2)
	s.joinToPull("archive", subjects.OnNewEvent.FullName())
	for name, size := range map[string]int{"that leaves no room for headers": int(s.nc.MaxPayload()) - 500, "that is read in pieces": 2 * int(s.nc.MaxPayload())} {
		_, err := tell(s, "!"+strings.Repeat("r", size))
		if failed, ok := errors.AsType[*bus.Error](err); !ok || failed.Kind != rosterv1.FailureKind_ERROR || !strings.Contains(failed.Text, "max_payload") {
			t.Errorf("news %s: %v", name, err)
		}
	}
	if info, err := stream.Info(t.Context()); err != nil || info.State.Msgs != 0 {
		t.Errorf("stored %+v, %v", info, err)
	}
}

// joinToPull joins as a worker that reads large questions in pieces.
func (s *stage) joinToPull(module string, callbacks ...string) {
	s.t.Helper()
	join, err := proto.Marshal(&rosterv1.Join{Worker: "w", Pulls: true, Callbacks: callbacks})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.nc.Request(names.Join(module), join, time.Minute); err != nil {
		s.t.Fatal(err)
	}
	s.until(module, (*rosterv1.Module).GetPulls)
}

func TestNewsThatNobodyStoresIsAFailure(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), storing("archive"))
	_, err := tell(s, "!room")
	wantFailure(t, err, rosterv1.FailureKind_ABSENT, "JetStream does not keep its news")
	if _, err := s.nc.Subscribe(names.NewsAny("archive"), func(m *nats.Msg) { _ = m.Respond([]byte("stored, trust me")) }); err != nil {
		t.Fatal(err)
	}
	_, err = tell(s, "!room")
	wantFailure(t, err, rosterv1.FailureKind_MALFORMED, "what answers in place of JetStream is something else")
}
