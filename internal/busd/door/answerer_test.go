package door_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const create = "spam_checker.user_may_create_room"

func TestAnswererDecidesInTheEncodingOfTheRequest(t *testing.T) {
	t.Parallel()
	s := doortest.New(t)
	out, p := s.Answerer.Answer(t.Context(), create, doortest.User("evil"), wire.JSON)
	if p != nil || !strings.Contains(string(out), `"decided_by":"gate"`) || !strings.Contains(string(out), `"errcode":"M_FORBIDDEN"`) {
		t.Errorf("in JSON: %s, %v", out, p)
	}
	body, err := proto.Marshal(&callbacksv1.UserMayCreateRoomRequest{UserId: "@alice:example.com"})
	if err != nil {
		t.Fatal(err)
	}
	out, p = s.Answerer.Answer(t.Context(), create, body, wire.Binary)
	decision := &rosterv1.Decision{}
	if p != nil || proto.Unmarshal(out, decision) != nil || decision.GetRosterRevision() == 0 || len(decision.GetAnswer()) != 0 {
		t.Errorf("in protobuf: %v, %v", decision, p)
	}
}

func TestAnswererTellsAFailedModule(t *testing.T) {
	t.Parallel()
	s := doortest.New(t)
	_, p := s.Answerer.Answer(t.Context(), create, doortest.User("error"), wire.JSON)
	if p == nil || p.Status != http.StatusBadGateway || p.Module != "gate" || p.Failure != "error" {
		t.Errorf("got %+v", p)
	}
}

func TestAnswererRefusesWhatIsNoQuestion(t *testing.T) {
	t.Parallel()
	s := doortest.New(t)
	for _, c := range []struct {
		name, body string
		in         wire.Mapping
		status     int
		says       string
	}{
		{"nothing.at_all", `{}`, wire.JSON, http.StatusNotFound, "unknown category"},
		{"spam_checker.nothing", `{}`, wire.JSON, http.StatusNotFound, "spam_checker has: "},
		{"user_may_create_room", `{}`, wire.JSON, http.StatusNotFound, "unknown category"},
		{create, `[]`, wire.JSON, http.StatusBadRequest, "not a JSON object"},
		{create, "{\"user_id\": \"\xff\"}", wire.JSON, http.StatusBadRequest, "not a JSON object"},
		{create, `{"user_id": 1}`, wire.JSON, http.StatusBadRequest, "user_id"},
		{create, "", wire.Binary, http.StatusBadRequest, "has no field of UserMayCreateRoomRequest"},
	} {
		if out, p := s.Answerer.Answer(t.Context(), c.name, []byte(c.body), c.in); p == nil || p.Status != c.status || !strings.Contains(p.Text, c.says) {
			t.Errorf("%s %q: %s, %+v; want %d %q", c.name, c.body, out, p, c.status, c.says)
		}
	}
}

func TestAnswererHasPlacesForSoManyAsks(t *testing.T) {
	t.Parallel()
	s := doortest.New(t)
	var release []func()
	for range door.MaxAsks {
		free, ok := s.Answerer.Take()
		if !ok {
			t.Fatalf("the place after %d is not there", len(release))
		}
		release = append(release, free)
	}
	if _, ok := s.Answerer.Take(); ok {
		t.Error("there is one place more")
	}
	release[0]()
	if _, ok := s.Answerer.Take(); !ok {
		t.Error("a place that was given back is not there")
	}
}

func TestAnswererCountsAsksThatWereNotTaken(t *testing.T) {
	t.Parallel()
	s := doortest.New(t)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.Answerer)
	s.Answerer.Note(door.NewProblem(http.StatusRequestEntityTooLarge, "M_TOO_LARGE", "too\nlarge"))
	s.Answerer.Note(door.NewProblem(http.StatusBadGateway, "M_UNKNOWN", "a module failed"))
	families, err := registry.Gather()
	if err != nil || len(families) != 1 {
		t.Fatalf("%v, %v", families, err)
	}
	for _, m := range families[0].GetMetric() {
		status, n := m.GetLabel()[0].GetValue(), m.GetCounter().GetValue()
		if status == "413" && n != 1 || status != "413" && n != 0 {
			t.Errorf("%v of status %s", n, status)
		}
	}
	if !s.Log.Has("too large") || s.Log.Has("a module failed") {
		t.Errorf("the log has %s", s.Log.String())
	}
}
