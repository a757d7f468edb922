package asks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// furnished is a homeserver with a module that answers by the user's name, and serves pages.
func furnished(t *testing.T, config string) *testbed.Homeserver {
	t.Helper()
	h := testbed.Open(t, natstest.InProcess(t), "example.com", config)
	f := fake{
		callbacks: []*subjects.Declaration{subjects.UserMayCreateRoom.Declaration},
		web:       map[string]string{"/_synapse/client/gate": "hello", "/_synapse/client/gate/large": strings.Repeat("x", 2<<20)},
		answer: func(ctx context.Context, _ *subjects.Declaration, req proto.Message) (proto.Message, error) {
			switch user := req.(*callbacksv1.UserMayCreateRoomRequest).GetUserId(); {
			case strings.HasPrefix(user, "@evil"):
				return &callbacksv1.UserMayCreateRoomResponse{Refusal: &callbacksv1.Refusal{Error: "Not you"}}, nil
			case strings.HasPrefix(user, "@large"): // It fits one message, but not as JSON.
				return &callbacksv1.UserMayCreateRoomResponse{Refusal: &callbacksv1.Refusal{Error: strings.Repeat("\x01", 1<<19)}}, nil
			case strings.HasPrefix(user, "@toolarge"):
				return &callbacksv1.UserMayCreateRoomResponse{Refusal: &callbacksv1.Refusal{Error: strings.Repeat("x", 2<<20)}}, nil
			case strings.HasPrefix(user, "@hang"):
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return nil, nil
		},
	}
	f.start(t, h.Home, h.Name, "gate")
	h.Settle()
	return h
}

func TestHTTPDoorSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	h := furnished(t, "  - module: gate\n    timeout: 30s\nbudget: 40s\n")
	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		errcode                  string
		says                     []string
	}{
		{"no JSON", "POST", testbed.CreatePath, `{"user_id": `, nil, 400, "M_NOT_JSON", []string{"JSON object"}},
		{"no body", "POST", testbed.CreatePath, ``, nil, 400, "M_NOT_JSON", []string{"JSON object"}},
		{"no object", "POST", testbed.CreatePath, `[]`, nil, 400, "M_NOT_JSON", []string{"JSON object"}},
		{"an unknown field", "POST", testbed.CreatePath, `{"userid": "@a:example.com"}`, nil, 400, "M_BAD_JSON", []string{"userid"}},
		{"a wrong type", "POST", testbed.CreatePath, `{"user_id": 5}`, nil, 400, "M_BAD_JSON", []string{"user_id"}},
		{"no nested object", "POST", testbed.CreatePath, `{"room_config": "x"}`, nil, 400, "M_BAD_JSON", []string{"room_config"}},
		{"no protobuf", "POST", testbed.CreatePath, "\xff\xff", []string{"Content-Type", "application/x-protobuf"}, 400, "M_BAD_JSON", nil},
		{"an unknown callback", "POST", "/_modulebus/v1/ask/spam_checker/user_may_fly", `{}`, nil, 404, "M_UNRECOGNIZED", []string{"user_may_fly", "user_may_create_room"}},
		{"a callback of another category", "POST", "/_modulebus/v1/ask/spam_checker/is_user_expired", `{}`, nil, 404, "M_UNRECOGNIZED", []string{"user_may_create_room"}},
		{"an unknown category", "POST", "/_modulebus/v1/ask/weather/user_may_create_room", `{}`, nil, 404, "M_UNRECOGNIZED", []string{"weather", "spam_checker"}},
		{"half a path", "POST", "/_modulebus/v1/ask/spam_checker", `{}`, nil, 404, "M_UNRECOGNIZED", nil},
		{"an unknown version", "POST", "/_modulebus/v9/ask/spam_checker/user_may_create_room", `{}`, nil, 404, "M_UNRECOGNIZED", nil},
		{"another method", "GET", testbed.CreatePath, ``, nil, 405, "M_UNRECOGNIZED", []string{"POST"}},
		{"another method of the list", "POST", "/_modulebus/v1/modules", ``, nil, 405, "M_UNRECOGNIZED", []string{"GET"}},
		{"a timeout that is none", "POST", testbed.CreatePath, `{}`, []string{"X-Modulebus-Timeout", "soon"}, 400, "M_INVALID_PARAM", []string{"X-Modulebus-Timeout"}},
		{"a negative timeout", "POST", testbed.CreatePath, `{}`, []string{"X-Modulebus-Timeout", "-1s"}, 400, "M_INVALID_PARAM", []string{"X-Modulebus-Timeout"}},
		{"a module that is too late for the caller", "POST", testbed.CreatePath, `{"user_id": "@hang:example.com"}`, []string{"X-Modulebus-Timeout", "50ms"}, 502, "M_UNKNOWN", []string{"gate", "timeout"}},
		{"too large an answer of a module", "POST", testbed.CreatePath, `{"user_id": "@toolarge:example.com"}`, nil, 502, "M_UNKNOWN", []string{"gate", "error"}},
		{"a revision that is none", "GET", "/_modulebus/v1/wants?after=x", ``, nil, 400, "M_INVALID_PARAM", []string{"after"}},
		{"nobody's path", "GET", "/_synapse/client/nobody", ``, nil, 404, "M_UNRECOGNIZED", nil},
		{"a path beside a module's", "GET", "/_synapse/client/gateway", ``, nil, 404, "M_UNRECOGNIZED", nil},
		{"too large a header for a module", "GET", "/_synapse/client/gate", ``, []string{"X-Large", strings.Repeat("x", 100<<10)}, 431, "M_TOO_LARGE", []string{"module gate"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rsp, out := h.Request(c.method, c.path, []byte(c.body), c.headers...)
			var e struct{ Errcode, Error string }
			if err := json.Unmarshal(out, &e); err != nil || rsp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s of type %q is no Matrix error", out, rsp.Header.Get("Content-Type"))
			}
			if rsp.StatusCode != c.status || e.Errcode != c.errcode || e.Error == "" {
				t.Errorf("answered %s: %s; want %d %s", rsp.Status, out, c.status, c.errcode)
			}
			for _, word := range c.says {
				if !strings.Contains(e.Error, word) {
					t.Errorf("%q says nothing of %q", e.Error, word)
				}
			}
			if c.status == 405 && rsp.Header.Get("Allow") == "" {
				t.Error("which method is allowed is not said")
			}
		})
	}
}

func TestNATSDoorSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	h := furnished(t, "  - module: gate\n    timeout: 30s\nbudget: 40s\n")
	ask := "modulebus.example%2Ecom.ask."
	for _, c := range []struct {
		name, subject, body string
		headers             nats.Header
		code, errcode, says string
	}{
		{"no JSON", ask + "spam_checker.user_may_create_room", `{`, nats.Header{"Content-Type": {"application/json"}}, "400", "M_NOT_JSON", "JSON object"},
		{"an unknown field", ask + "spam_checker.user_may_create_room", `{"userid": ""}`, nats.Header{"Content-Type": {"application/json"}}, "400", "M_BAD_JSON", "userid"},
		{"no protobuf", ask + "spam_checker.user_may_create_room", "\xff\xff", nil, "400", "M_BAD_JSON", ""},
		{"nothing", ask + "spam_checker.user_may_create_room", "", nil, "400", "M_BAD_JSON", "UserMayCreateRoomRequest"},
		{"an unknown callback", ask + "spam_checker.user_may_fly", ``, nil, "404", "M_UNRECOGNIZED", "user_may_fly"},
		{"an unknown category", ask + "weather.user_may_fly", ``, nil, "404", "M_UNRECOGNIZED", "weather"},
		{"too large a decision", ask + "spam_checker.user_may_create_room", `{"user_id": "@large:example.com"}`, nats.Header{"Content-Type": {"application/json"}}, "500", "M_TOO_LARGE", "max_payload"},
		{"a module that is too late for the caller", ask + "spam_checker.user_may_create_room", `{"user_id": "@hang:example.com"}`, nats.Header{"Content-Type": {"application/json"}, "Modulebus-Timeout": {"50"}}, "502", "M_UNKNOWN", "gate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			reply, err := h.Nc.RequestMsgWithContext(testbed.Bounded(t), &nats.Msg{Subject: c.subject, Data: []byte(c.body), Header: c.headers})
			if err != nil {
				t.Fatal(err)
			}
			var e struct{ Errcode, Error string }
			if err := json.Unmarshal(reply.Data, &e); err != nil || e.Errcode != c.errcode || !strings.Contains(e.Error, c.says) {
				t.Errorf("answered %s; want %s with %q", reply.Data, c.errcode, c.says)
			}
			if code, text := reply.Header.Get("Nats-Service-Error-Code"), reply.Header.Get("Nats-Service-Error"); code != c.code || text == "" {
				t.Errorf("headers say %s %q; want %s", code, text, c.code)
			}
		})
	}
}

func TestAskThatWantsNoReplyIsHarmless(t *testing.T) {
	t.Parallel()
	h := furnished(t, "  - module: gate\n")
	if err := h.Nc.Publish(subjects.For(h.Name).Ask(subjects.UserMayCreateRoom.Declaration), nil); err != nil {
		t.Fatal(err)
	}
	if v := h.Create("@evil:example.com"); !v.Refused() {
		t.Error(v)
	}
}

func TestModulesPagesAreServed(t *testing.T) {
	t.Parallel()
	h := furnished(t, "  - module: gate\n")
	for _, path := range []string{"/_synapse/client/gate", "/_synapse/client/gate/below/it?x=y"} {
		if rsp, out := h.Request("GET", path, nil); rsp.StatusCode != 200 || string(out) != "hello" {
			t.Errorf("%s: %s %s", path, rsp.Status, out)
		}
	}
	if rsp, out := h.Request("GET", "/_synapse/client/gate/large", nil); rsp.StatusCode != 200 || len(out) != 2<<20 {
		t.Errorf("a page larger than a message: %s, %d bytes", rsp.Status, len(out))
	}
	if rsp, out := h.Request("POST", "/_synapse/client/gate", bytes.Repeat([]byte("x"), 2<<20)); rsp.StatusCode != 200 {
		t.Errorf("a body larger than a message: %s %s", rsp.Status, out)
	}
}

func TestWantsAreToldWhenTheyChange(t *testing.T) {
	t.Parallel()
	h := furnished(t, "  - module: gate\n  - module: late\n    run: [sh, -c, 'exit 1']\n")
	type wants struct {
		Revision  uint64 `json:"roster_revision"`
		Callbacks map[string][]string
	}
	get := func(query string) (v wants) {
		_, out, err := h.Try("GET", "/_modulebus/v1/wants"+query, nil)
		if err == nil {
			err = json.Unmarshal(out, &v)
		}
		if err != nil {
			t.Errorf("%v in %s", err, out)
		}
		return v
	}
	var now wants
	testbed.Eventually(t, "the module's callback is wanted", func() bool {
		now = get("")
		return len(now.Callbacks["spam_checker"]) == 1 && now.Callbacks["spam_checker"][0] == "user_may_create_room"
	})
	if again := get("?after=0"); again.Revision < now.Revision {
		t.Errorf("revision %d came after %d", again.Revision, now.Revision)
	}
	news := make(chan wants, 1)
	go func() { news <- get("?after=" + jsonText(now.Revision)) }()
	fake{callbacks: []*subjects.Declaration{subjects.UserMayInvite.Declaration}, answer: silent}.start(t, h.Home, h.Name, "late")
	later := <-news
	for later.Revision > 0 && len(later.Callbacks["spam_checker"]) < 2 {
		later = get("?after=" + jsonText(later.Revision))
	}
	if later.Revision <= now.Revision {
		t.Errorf("revision %d came after %d", later.Revision, now.Revision)
	}
}

func jsonText(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	h := furnished(t, "  - module: gate\n")
	for path, status := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200} {
		if rsp, out := h.Request("GET", path, nil); rsp.StatusCode != status {
			t.Errorf("%s: %s %s", path, rsp.Status, out)
		}
	}
	h.Create("@evil:example.com")
	_, metrics := h.Request("GET", "/metrics", nil)
	for _, line := range []string{
		`modulebus_asks_total{callback="user_may_create_room",outcome="refused"} 1`,
		`modulebus_module_workers{module="gate"} 1`,
	} {
		if !bytes.Contains(metrics, []byte(line)) {
			t.Errorf("metrics have no %s", line)
		}
	}
	h.Reload <- busd.Reload{Config: h.Config("  - module: gate\n  - module: absent\n")}
	testbed.Eventually(t, "busd is not ready", func() bool {
		rsp, out := h.Request("GET", "/readyz", nil)
		return rsp.StatusCode == 503 && bytes.Contains(out, []byte(`"absent"`))
	})
	if rsp, _ := h.Request("GET", "/healthz", nil); rsp.StatusCode != 200 {
		t.Error("a module that is absent makes busd ill")
	}
}

func TestTokenIsWantedWhereverModulesAreAsked(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "http.token")
	if err := os.WriteFile(file, []byte("letmein\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := testbed.Open(t, natstest.InProcess(t), "example.com", "  - module: gate\nhttp: {listen: '127.0.0.1:0', token_file: '"+file+"'}\n")
	fake{callbacks: []*subjects.Declaration{subjects.UserMayCreateRoom.Declaration}, answer: silent, web: map[string]string{"/_synapse/client/gate": "hello"}}.
		start(t, h.Home, h.Name, "gate")
	h.Settle()
	for _, path := range []string{testbed.CreatePath, "/_modulebus/v1/modules", "/_modulebus/v1/wants", "/_modulebus/v1/nothing"} {
		for header, errcode := range map[string]string{"": "M_MISSING_TOKEN", "Basic x": "M_MISSING_TOKEN", "Bearer": "M_MISSING_TOKEN", "Bearer wrong": "M_UNKNOWN_TOKEN"} {
			rsp, out := h.Request("POST", path, []byte(`{}`), "Authorization", header)
			if rsp.StatusCode != http.StatusUnauthorized || !bytes.Contains(out, []byte(`"`+errcode+`"`)) {
				t.Errorf("%s with %q: %s %s; want 401 %s", path, header, rsp.Status, out, errcode)
			}
		}
	}
	if rsp, _ := h.Request("GET", "/_modulebus/v1/modules", nil, "Authorization", "bearer letmein"); rsp.StatusCode != 200 {
		t.Errorf("the scheme's case matters: %s", rsp.Status)
	}
	h.Token = "letmein"
	if v := h.Create("@a:example.com"); v.Status != 200 {
		t.Error(v)
	}
	h.Token = ""
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/_synapse/client/gate"} {
		if rsp, out := h.Request("GET", path, nil); rsp.StatusCode != 200 {
			t.Errorf("%s wants a token: %s %s", path, rsp.Status, out)
		}
	}
	if !strings.Contains(h.Line, `-H "Authorization: Bearer $(cat '`+file+`')"`) {
		t.Errorf("the command to try does not show the token: %s", h.Line)
	}
}

func TestBusdThatDrainsFinishesWhatIsUnderWayAndTurnsTheRestAway(t *testing.T) {
	t.Parallel()
	h := testbed.Open(t, natstest.InProcess(t), "example.com", "  - module: gate\n    timeout: 30s\nbudget: 40s\n")
	asked, release := make(chan struct{}), make(chan struct{})
	f := fake{callbacks: []*subjects.Declaration{subjects.UserMayCreateRoom.Declaration}}
	f.answer = func(_ context.Context, _ *subjects.Declaration, req proto.Message) (proto.Message, error) {
		if req.(*callbacksv1.UserMayCreateRoomRequest).GetUserId() == "@held:example.com" {
			close(asked)
			<-release
		}
		return nil, nil
	}
	f.start(t, h.Home, h.Name, "gate")
	h.Settle()
	_, out := h.Request("GET", "/_modulebus/v1/wants", nil)
	var wants struct {
		Revision uint64 `json:"roster_revision"`
	}
	if err := json.Unmarshal(out, &wants); err != nil {
		t.Fatal(err)
	}
	held, waiting := make(chan testbed.Verdict, 1), make(chan int, 1)
	go func() { v, _ := h.TryCreate("@held:example.com"); held <- v }()
	go func() {
		rsp, _, _ := h.Try("GET", "/_modulebus/v1/wants?after="+jsonText(wants.Revision+1_000_000), nil)
		waiting <- rsp.StatusCode
	}()
	<-asked
	stopped := make(chan error, 1)
	go func() { stopped <- h.Stop() }()
	var v testbed.Verdict
	testbed.Eventually(t, "asks are turned away", func() bool { v = h.Create("@a:example.com"); return v.Status != 200 })
	if v.Status != 503 || v.RetryAfter == "" || v.Errcode == "" {
		t.Errorf("%v, Retry-After %q; want 503", v, v.RetryAfter)
	}
	if status := <-waiting; status != 200 && status != 503 { // The wait may not have begun yet.
		t.Errorf("who waited for news was answered %d", status)
	}
	select {
	case err := <-stopped:
		t.Fatalf("busd stopped with an ask under way: %v", err)
	default:
	}
	close(release)
	if v := <-held; v.Status != 200 {
		t.Errorf("the ask that was under way: %v", v)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
