package askdoor_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const protobuf = "application/x-protobuf"

func TestAskIsAnsweredInTheMappingOfItsQuestion(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	rsp, out := d.Do("POST", doortest.CreatePath, doortest.User("evil"))
	var decision struct {
		Answer struct {
			Refusal struct{ Errcode string }
		}
		DecidedBy      string `json:"decided_by"`
		RosterRevision uint64 `json:"roster_revision"`
	}
	if err := json.Unmarshal(out, &decision); err != nil || rsp.StatusCode != 200 || decision.DecidedBy != "gate" || decision.Answer.Refusal.Errcode != "M_FORBIDDEN" {
		t.Errorf("%s %s: %v", rsp.Status, out, err)
	}
	question, err := proto.Marshal(&callbacksv1.UserMayCreateRoomRequest{UserId: "@evil:example.com"})
	if err != nil {
		t.Fatal(err)
	}
	rsp, out = d.Do("POST", doortest.CreatePath, question, "Content-Type", protobuf)
	binary := &rosterv1.Decision{}
	if err := proto.Unmarshal(out, binary); err != nil || rsp.Header.Get("Content-Type") != protobuf || binary.GetDecidedBy() != "gate" {
		t.Errorf("%s %v: %v", rsp.Status, binary, err)
	}
	if binary.GetRosterRevision() != decision.RosterRevision {
		t.Errorf("revisions %d and %d", binary.GetRosterRevision(), decision.RosterRevision)
	}
}

func TestDecisionInProtobufIsNeverEmpty(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	question, err := proto.Marshal(&callbacksv1.UserMayCreateRoomRequest{UserId: "@good:example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if rsp, out := d.Do("POST", doortest.CreatePath, question, "Content-Type", protobuf); rsp.StatusCode != 200 || len(out) == 0 {
		t.Errorf("answered %s with %d bytes", rsp.Status, len(out))
	}
}

// A registration of which nothing is known, and a list of no states, are questions.
func TestAskWhoseFieldsMayAllBeAbsentMayBeEmpty(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	for _, callback := range []string{"spam_checker/check_registration_for_spam", "presence_router/get_users_for_states"} {
		if rsp, out := d.Do("POST", "/_modulebus/v1/ask/"+callback, nil, "Content-Type", protobuf); rsp.StatusCode != 200 {
			t.Errorf("%s: answered %s: %s", callback, rsp.Status, out)
		}
	}
}

func TestAskMistakesAreMatrixErrors(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	tests := map[string]struct {
		method, path, body string
		header             []string
		status             int
		errcode            string
	}{
		"no JSON":             {"POST", doortest.CreatePath, "{", nil, 400, "M_NOT_JSON"},
		"no UTF-8":            {"POST", doortest.CreatePath, "{\"user_id\":\"@a:x\",\"room_config\":{\"name\":\"\xff\"}}", nil, 400, "M_NOT_JSON"},
		"a wrong type":        {"POST", doortest.CreatePath, `{"user_id":5}`, nil, 400, "M_BAD_JSON"},
		"an unknown field":    {"POST", doortest.CreatePath, `{"user":""}`, nil, 400, "M_BAD_JSON"},
		"no protobuf":         {"POST", doortest.CreatePath, "\xff", []string{"Content-Type", protobuf}, 400, "M_BAD_JSON"},
		"an empty body":       {"POST", doortest.CreatePath, "", []string{"Content-Type", protobuf}, 400, "M_BAD_JSON"},
		"an empty JSON body":  {"POST", doortest.CreatePath, "", nil, 400, "M_NOT_JSON"},
		"another message":     {"POST", doortest.CreatePath, "\x98\x06\x01", []string{"Content-Type", protobuf}, 400, "M_BAD_JSON"},
		"an unknown callback": {"POST", "/_modulebus/v1/ask/spam_checker/nothing", "{}", nil, 404, "M_UNRECOGNIZED"},
		"an unknown category": {"POST", "/_modulebus/v1/ask/nothing/nothing", "{}", nil, 404, "M_UNRECOGNIZED"},
		"an unknown path":     {"GET", "/_modulebus/v1/nothing", "", nil, 404, "M_UNRECOGNIZED"},
		"nobody's page":       {"GET", "/nothing", "", nil, 404, "M_UNRECOGNIZED"},
		"a wrong method":      {"GET", doortest.CreatePath, "", nil, 405, "M_UNRECOGNIZED"},
		"no duration":         {"POST", doortest.CreatePath, "{}", []string{"X-Modulebus-Timeout", "soon"}, 400, "M_INVALID_PARAM"},
		"no revision":         {"GET", "/_modulebus/v1/wants?after=x", "", nil, 400, "M_INVALID_PARAM"},
		"no time to wait":     {"GET", "/_modulebus/v1/wants?after=1&wait=soon", "", nil, 400, "M_INVALID_PARAM"},
		"a failed module":     {"POST", doortest.CreatePath, string(doortest.User("error")), nil, 502, "M_UNKNOWN"},
		"a module in time":    {"POST", doortest.CreatePath, string(doortest.User("slow")), []string{"X-Modulebus-Timeout", "1ms"}, 502, "M_UNKNOWN"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rsp, out := d.Do(tt.method, tt.path, []byte(tt.body), tt.header...)
			doortest.Wants(t, rsp, out, tt.status, tt.errcode)
		})
	}
	t.Cleanup(d.Release())
}

func TestAskThatIsNotTakenIsCountedAndLogged(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	d.OpenNATS()
	for path, body := range map[string]string{doortest.CreatePath: "{", "/_modulebus/v1/ask/spam_checker/nothing": "{}", "/_modulebus/antispam/user_may_invite": "{"} {
		d.Do("POST", path, []byte(body))
	}
	d.AskNATS([]byte("{"), nats.Header{"Content-Type": {"application/json"}})
	d.Do("POST", doortest.CreatePath, doortest.User("error")) // Its module failed, which is another thing.
	_, metrics := d.Do("GET", "/metrics", nil)
	for _, want := range []string{`{status="400"} 3`, `{status="404"} 1`, `{status="413"} 0`} {
		if !strings.Contains(string(metrics), "modulebus_asks_not_taken_total"+want) {
			t.Errorf("no %s in:\n%s", want, metrics)
		}
	}
	if !d.Log.Has("an ask was not taken") || !d.Log.Has("the body is not a JSON object") || d.Log.Has("502") {
		t.Errorf("logged:\n%s", &d.Log)
	}
}

func post(contentType string, length int, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", doortest.CreatePath, contentType, length, body)
}

func TestHalfClosedAskIsAnswered(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	body := string(doortest.User("evil"))
	question, err := proto.Marshal(&callbacksv1.UserMayCreateRoomRequest{UserId: "@evil:example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if out := d.Raw(post("application/json", len(body), body)); !strings.Contains(out, "M_FORBIDDEN") {
			t.Fatalf("in JSON: %q", out)
		}
		if out := d.Raw(post(protobuf, len(question), string(question))); !strings.Contains(out, "M_FORBIDDEN") {
			t.Fatalf("in protobuf: %q", out)
		}
	}
}

func TestHalfClosedAskOfASlowModuleIsAnswered(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	release := d.Release()
	go func() { <-d.Asked; release() }()
	body := string(doortest.User("slow"))
	if out := d.Raw(post("application/json", len(body), body)); !strings.HasPrefix(out, "HTTP/1.1 200 ") || !strings.Contains(out, "roster_revision") {
		t.Errorf("got %q", out)
	}
}

func TestCutBodyIsNoDecision(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	for _, kind := range []string{"application/json", protobuf} {
		for range 20 {
			out := d.Raw(post(kind, 100, "{"))
			if out != "" && !strings.HasPrefix(out, "HTTP/1.1 400 ") {
				t.Fatalf("%s: %q", kind, out)
			}
		}
	}
	if n := len(d.Asked); n != 0 {
		t.Errorf("the module was asked %d times", n)
	}
}

// TestLargeQuestionIsTheModulesFailure has a question that busd reads and NATS does not carry.
func TestLargeQuestionIsTheModulesFailure(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	body := []byte(`{"user_id":"@good:example.com","room_config":{"name":"` + strings.Repeat("x", 2<<20) + `"}}`)
	rsp, out := d.Do("POST", doortest.CreatePath, body)
	doortest.Wants(t, rsp, out, 502, "M_UNKNOWN")
	if !strings.Contains(string(out), `"module":"gate"`) {
		t.Errorf("got %s", out)
	}
	d.Configure("{module: gate, timeout: 1m, on_failure: skip}")
	d.AwaitRoster()
	rsp, out = d.Do("POST", doortest.CreatePath, body)
	if rsp.StatusCode != 200 || !strings.Contains(string(out), `"policy":"skip"`) {
		t.Errorf("with on_failure: skip: %s %s", rsp.Status, out)
	}
}

func TestQuestionThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	rsp, out := d.Do("POST", doortest.CreatePath, bytes.Repeat([]byte(" "), 128<<20+1))
	doortest.Wants(t, rsp, out, 413, "M_TOO_LARGE")
	if !strings.Contains(string(out), "NeedState") {
		t.Errorf("it does not say what to do: %s", out)
	}
}

func TestClosedDoorEndsItsAsks(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	t.Cleanup(d.Release())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		req, err := http.NewRequestWithContext(t.Context(), "POST", d.URL+doortest.CreatePath, bytes.NewReader(doortest.User("slow")))
		if err != nil {
			t.Error(err)
			return
		}
		if rsp, err := d.Browser.Do(req); err == nil { // It may still be told.
			rsp.Body.Close()
			if rsp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("answered %s", rsp.Status)
			}
		}
	}()
	<-d.Asked
	d.Close()
	doortest.Within(t, "the ask", func() { <-ended })
}
