package door_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/certs"
	"github.com/modulebus/modulebus/internal/busd/certs/certstest"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const protobuf = "application/x-protobuf"

func TestAskIsAnsweredInTheMappingOfItsQuestion(t *testing.T) {
	t.Parallel()
	d := begun(t)
	rsp, out := d.do("POST", createPath, user("evil"))
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
	rsp, out = d.do("POST", createPath, question, "Content-Type", protobuf)
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
	d := begun(t)
	question, err := proto.Marshal(&callbacksv1.UserMayCreateRoomRequest{UserId: "@good:example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if rsp, out := d.do("POST", createPath, question, "Content-Type", protobuf); rsp.StatusCode != 200 || len(out) == 0 {
		t.Errorf("answered %s with %d bytes", rsp.Status, len(out))
	}
}

func TestMistakesAreMatrixErrors(t *testing.T) {
	t.Parallel()
	d := begun(t)
	tests := map[string]struct {
		method, path, body string
		header             []string
		status             int
		errcode            string
	}{
		"no JSON":             {"POST", createPath, "{", nil, 400, "M_NOT_JSON"},
		"a wrong type":        {"POST", createPath, `{"user_id":5}`, nil, 400, "M_BAD_JSON"},
		"an unknown field":    {"POST", createPath, `{"user":""}`, nil, 400, "M_BAD_JSON"},
		"no protobuf":         {"POST", createPath, "\xff", []string{"Content-Type", protobuf}, 400, "M_BAD_JSON"},
		"an unknown callback": {"POST", "/_modulebus/v1/ask/spam_checker/nothing", "{}", nil, 404, "M_UNRECOGNIZED"},
		"an unknown category": {"POST", "/_modulebus/v1/ask/nothing/nothing", "{}", nil, 404, "M_UNRECOGNIZED"},
		"an unknown path":     {"GET", "/_modulebus/v1/nothing", "", nil, 404, "M_UNRECOGNIZED"},
		"nobody's page":       {"GET", "/nothing", "", nil, 404, "M_UNRECOGNIZED"},
		"a wrong method":      {"GET", createPath, "", nil, 405, "M_UNRECOGNIZED"},
		"no duration":         {"POST", createPath, "{}", []string{"X-Modulebus-Timeout", "soon"}, 400, "M_INVALID_PARAM"},
		"no revision":         {"GET", "/_modulebus/v1/wants?after=x", "", nil, 400, "M_INVALID_PARAM"},
		"no time to wait":     {"GET", "/_modulebus/v1/wants?after=1&wait=soon", "", nil, 400, "M_INVALID_PARAM"},
		"a failed module":     {"POST", createPath, string(user("error")), nil, 502, "M_UNKNOWN"},
		"a module in time":    {"POST", createPath, string(user("slow")), []string{"X-Modulebus-Timeout", "1ms"}, 502, "M_UNKNOWN"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rsp, out := d.do(tt.method, tt.path, []byte(tt.body), tt.header...)
			wants(t, rsp, out, tt.status, tt.errcode)
		})
	}
	t.Cleanup(d.release())
}

func TestTokenIsWantedWhereItIsConfigured(t *testing.T) {
	t.Parallel()
	d := newHouse(t).openHTTP(config.HTTP{TokenFile: tokenFile(t, "secret")})
	d.life.Begin()
	rsp, out := d.do("POST", createPath, user("evil"))
	wants(t, rsp, out, 401, "M_MISSING_TOKEN")
	rsp, out = d.do("POST", createPath, user("evil"), "Authorization", "Bearer guessed")
	wants(t, rsp, out, 401, "M_UNKNOWN_TOKEN")
	if rsp, _ := d.do("POST", createPath, user("evil"), "Authorization", "bearer secret"); rsp.StatusCode != 200 {
		t.Errorf("with the token: %s", rsp.Status)
	}
	for _, path := range []string{"/", "/healthz", "/readyz", "/metrics"} {
		if rsp, _ := d.do("GET", path, nil); rsp.StatusCode != 200 {
			t.Errorf("%s: %s", path, rsp.Status)
		}
	}
}

func TestTokenDoesWhatItsScopesSay(t *testing.T) {
	t.Parallel()
	c := config.HTTP{Listen: "0.0.0.0:0", TokenFile: tokenFile(t, "everything")}
	for _, scope := range []string{config.ScopeAsk, config.ScopeRead, config.ScopeAdmin} {
		c.Tokens = append(c.Tokens, config.Token{File: tokenFile(t, scope), Scopes: []string{scope}})
	}
	d := newHouse(t).openHTTP(c)
	d.life.Begin()
	ask, read, admin := []string{"ask", "admin", "everything"}, []string{"read", "admin", "everything"}, []string{"admin", "everything"}
	for _, tt := range []struct {
		method, path string
		may          []string
	}{
		{"POST", createPath, ask},
		{"GET", "/_modulebus/v1/wants", ask},
		{"GET", "/_modulebus/v1/modules", read},
		{"GET", "/metrics", read},
		{"POST", "/_modulebus/v1/modules/gate/restart", admin},
	} {
		for _, token := range []string{"ask", "read", "admin", "everything"} {
			rsp, out := d.do(tt.method, tt.path, user("good"), "Authorization", "Bearer "+token)
			switch may := slices.Contains(tt.may, token); {
			case may && rsp.StatusCode != 200:
				t.Errorf("%s %s with %s: %s %s", tt.method, tt.path, token, rsp.Status, out)
			case !may:
				wants(t, rsp, out, 403, "M_FORBIDDEN")
			}
		}
		rsp, out := d.do(tt.method, tt.path, user("good"))
		wants(t, rsp, out, 401, "M_MISSING_TOKEN")
	}
}

// TestReadyTellsDetailsToReaders has a door that other machines reach, and a module that is missing.
func TestReadyTellsDetailsToReaders(t *testing.T) {
	t.Parallel()
	d := newHouse(t).openHTTP(config.HTTP{Listen: "0.0.0.0:0", TokenFile: tokenFile(t, "secret")})
	d.configure("{module: gate}, {module: missing}")
	rsp, out := d.do("GET", "/readyz", nil)
	if rsp.StatusCode != 503 || strings.Contains(string(out), "missing") {
		t.Errorf("without a token: %s %s", rsp.Status, out)
	}
	if rsp, out := d.do("GET", "/readyz", nil, "Authorization", "Bearer secret"); rsp.StatusCode != 503 || !strings.Contains(string(out), "missing") {
		t.Errorf("with the token: %s %s", rsp.Status, out)
	}
}

// TestPagesElsewhereCannotAsk has a browser's request that another page makes.
func TestPagesElsewhereCannotAsk(t *testing.T) {
	t.Parallel()
	d := begun(t)
	for _, header := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"}} {
		rsp, out := d.do("POST", "/_modulebus/v1/modules/gate/restart", nil, header...)
		wants(t, rsp, out, 403, "M_FORBIDDEN")
	}
}

func TestDoorSpeaksTLS(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue("127.0.0.1")
	d := newHouse(t).openHTTP(config.HTTP{TLS: config.TLS{Cert: cert, Key: key}})
	d.life.Begin()
	plain, out := d.do("POST", createPath, user("evil"))
	if plain.StatusCode != 400 {
		t.Errorf("without TLS: %s %s", plain.Status, out)
	}
	dialer, err := certs.Client(config.TLS{CA: a.File}, "", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	d.client.Transport.(*http.Transport).DialTLSContext = dialer.DialContext
	d.url = "https://" + d.Addr()
	if rsp, out := d.do("POST", createPath, user("evil")); rsp.StatusCode != 200 || !strings.Contains(string(out), "M_FORBIDDEN") {
		t.Errorf("%s %s", rsp.Status, out)
	}
}

func TestDoorWithABadCertificateDoesNotOpen(t *testing.T) {
	t.Parallel()
	d := door.NewHTTP(newHouse(t).options(config.HTTP{Listen: "127.0.0.1:0", TLS: config.TLS{Cert: "nothing", Key: "nothing"}}))
	defer d.Close()
	if err := d.Open(); err == nil || !strings.HasPrefix(err.Error(), "http.tls: open nothing") {
		t.Errorf("got %v", err)
	}
}

func TestDoorThatCannotOpenSaysWhy(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	taken := h.openHTTP(config.HTTP{}).Addr()
	d := door.NewHTTP(h.options(config.HTTP{Listen: taken}))
	defer d.Close()
	if err := d.Open(); err == nil || !strings.Contains(err.Error(), "http.listen: cannot listen on "+taken) {
		t.Errorf("got %v", err)
	}
}

func TestNothingIsAnsweredBeforeBusdHasBegun(t *testing.T) {
	t.Parallel()
	d := newHouse(t).openHTTP(config.HTTP{})
	for _, r := range []struct{ method, path string }{
		{"POST", createPath}, {"GET", "/_modulebus/v1/wants"}, {"GET", "/_synapse/client/page"},
	} {
		rsp, out := d.do(r.method, r.path, []byte("{}"))
		wants(t, rsp, out, 503, "M_UNKNOWN")
		if rsp.Header.Get("Retry-After") == "" {
			t.Errorf("%s has no Retry-After", r.path)
		}
	}
	if rsp, _ := d.do("GET", "/readyz", nil); rsp.StatusCode != 503 {
		t.Errorf("/readyz: %s", rsp.Status)
	}
	if rsp, _ := d.do("GET", "/_modulebus/v1/modules", nil); rsp.StatusCode != 200 {
		t.Errorf("the modules: %s", rsp.Status)
	}
	go d.life.Begin()
	if rsp, out := d.do("POST", createPath, user("evil")); rsp.StatusCode != 200 {
		t.Errorf("a moment before it begins: %s %s", rsp.Status, out)
	}
}

func TestHealthAndReadinessTellWhatIsMissing(t *testing.T) {
	t.Parallel()
	d := begun(t)
	if rsp, out := d.do("GET", "/readyz", nil); rsp.StatusCode != 200 || string(out) != `{"ready":true}` {
		t.Errorf("%s %s", rsp.Status, out)
	}
	d.configure("{module: gate, timeout: 1m}, {module: missing}")
	if rsp, out := d.do("GET", "/readyz", nil); rsp.StatusCode != 503 || !strings.Contains(string(out), "missing") {
		t.Errorf("%s %s", rsp.Status, out)
	}
	d.alive = false
	if rsp, out := d.do("GET", "/healthz", nil); rsp.StatusCode != 503 || !strings.Contains(string(out), "NATS") {
		t.Errorf("%s %s", rsp.Status, out)
	}
}

// raw sends text over a connection of its own, closes this side of it, and returns all that comes back.
func (d *httpDoor) raw(text string) string {
	d.t.Helper()
	c, err := net.Dial("tcp", d.Addr())
	if err != nil {
		d.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		d.t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		d.t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		d.t.Fatal(err)
	}
	out, err := io.ReadAll(c)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(out)
}

func post(contentType string, length int, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", createPath, contentType, length, body)
}

func TestHalfClosedAskIsAnswered(t *testing.T) {
	t.Parallel()
	d := begun(t)
	body := string(user("evil"))
	question, err := proto.Marshal(&callbacksv1.UserMayCreateRoomRequest{UserId: "@evil:example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if out := d.raw(post("application/json", len(body), body)); !strings.Contains(out, "M_FORBIDDEN") {
			t.Fatalf("in JSON: %q", out)
		}
		if out := d.raw(post(protobuf, len(question), string(question))); !strings.Contains(out, "M_FORBIDDEN") {
			t.Fatalf("in protobuf: %q", out)
		}
	}
}

func TestHalfClosedAskOfASlowModuleIsAnswered(t *testing.T) {
	t.Parallel()
	d := begun(t)
	release := d.release()
	go func() { <-d.asked; release() }()
	body := string(user("slow"))
	if out := d.raw(post("application/json", len(body), body)); !strings.HasPrefix(out, "HTTP/1.1 200 ") || !strings.Contains(out, "roster_revision") {
		t.Errorf("got %q", out)
	}
}

func TestCutBodyIsNoDecision(t *testing.T) {
	t.Parallel()
	d := begun(t)
	for _, kind := range []string{"application/json", protobuf} {
		for range 20 {
			out := d.raw(post(kind, 100, "{"))
			if out != "" && !strings.HasPrefix(out, "HTTP/1.1 400 ") {
				t.Fatalf("%s: %q", kind, out)
			}
		}
	}
	if n := len(d.asked); n != 0 {
		t.Errorf("the module was asked %d times", n)
	}
}

// TestLargeQuestionIsTheModulesFailure has a question that busd reads and NATS does not carry.
func TestLargeQuestionIsTheModulesFailure(t *testing.T) {
	t.Parallel()
	d := begun(t)
	body := []byte(`{"user_id":"@good:example.com","room_config":{"name":"` + strings.Repeat("x", 2<<20) + `"}}`)
	rsp, out := d.do("POST", createPath, body)
	wants(t, rsp, out, 502, "M_UNKNOWN")
	if !strings.Contains(string(out), `"module":"gate"`) {
		t.Errorf("got %s", out)
	}
	d.configure("{module: gate, timeout: 1m, on_failure: skip}")
	d.awaitRoster()
	rsp, out = d.do("POST", createPath, body)
	if rsp.StatusCode != 200 || !strings.Contains(string(out), `"policy":"skip"`) {
		t.Errorf("with on_failure: skip: %s %s", rsp.Status, out)
	}
}

func TestQuestionThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	d := begun(t)
	rsp, out := d.do("POST", createPath, bytes.Repeat([]byte(" "), 64<<20+1))
	wants(t, rsp, out, 413, "M_TOO_LARGE")
	if !strings.Contains(string(out), "NeedState") {
		t.Errorf("it does not say what to do: %s", out)
	}
}

func (d *httpDoor) wants(query string) (revision uint64, callbacks map[string][]string) {
	d.t.Helper()
	rsp, out := d.do("GET", "/_modulebus/v1/wants"+query, nil)
	var answer struct {
		RosterRevision uint64 `json:"roster_revision"`
		Callbacks      map[string][]string
	}
	if err := json.Unmarshal(out, &answer); err != nil || rsp.StatusCode != 200 {
		d.t.Errorf("%s %s: %v", rsp.Status, out, err)
	}
	return answer.RosterRevision, answer.Callbacks
}

func TestPollWithoutNewsHasTheSameRevision(t *testing.T) {
	t.Parallel()
	d := begun(t)
	now, callbacks := d.wants("")
	if len(callbacks["spam_checker"]) != 1 {
		t.Errorf("wanted: %v", callbacks)
	}
	if again, _ := d.wants(fmt.Sprintf("?after=%d&wait=1ms", now)); again != now {
		t.Errorf("revision %d, then %d", now, again)
	}
}

func TestPollEndsWithNews(t *testing.T) {
	t.Parallel()
	d := begun(t)
	now, _ := d.wants("")
	go d.configure("{module: gate, timeout: 2m}") //nolint:staticcheck // what it reads is no mistake, so it does not fail
	if later, _ := d.wants(fmt.Sprintf("?after=%d", now)); later <= now {
		t.Errorf("revision %d, then %d", now, later)
	}
}

func TestPollTellsWhichStateAndKeysAreNeeded(t *testing.T) {
	t.Parallel()
	d := begun(t)
	d.configure("{module: gate, timeout: 1m}, {module: rules}, {module: login}")
	d.registry.Join("rules", &rosterv1.Join{
		Worker: "1", Callbacks: []string{subjects.CheckEventAllowed.FullName()},
		Needs: map[string]*rosterv1.Needs{subjects.CheckEventAllowed.FullName(): {State: &rosterv1.StateFilter{All: true}}},
	}, time.Now())
	d.awaitRoster()
	_, out := d.do("GET", "/_modulebus/v1/wants", nil)
	if !strings.Contains(string(out), `"state":{"third_party_rules.check_event_allowed":{"all":true`) {
		t.Errorf("got %s", out)
	}
}

func TestPollEndsWhenBusdDrains(t *testing.T) {
	t.Parallel()
	d := begun(t)
	now, _ := d.wants("")
	within(t, "the poll", func() {
		go d.life.Drain()
		rsp, _ := d.do("GET", fmt.Sprintf("/_modulebus/v1/wants?after=%d", now), nil)
		if rsp.StatusCode != 200 && rsp.StatusCode != 503 {
			t.Errorf("answered %s", rsp.Status)
		}
	})
}

func TestDrainFinishesWhatIsUnderWayAndTurnsTheRestAway(t *testing.T) {
	t.Parallel()
	d := begun(t)
	answered := make(chan string, 1)
	go func() {
		_, out := d.do("POST", createPath, user("slow"))
		answered <- string(out)
	}()
	<-d.asked
	d.life.Drain()
	rsp, out := d.do("POST", createPath, user("evil"))
	wants(t, rsp, out, 503, "M_UNKNOWN")
	if rsp.Header.Get("Retry-After") == "" {
		t.Error("without Retry-After")
	}
	drained := make(chan struct{})
	go func() { defer close(drained); d.Drain(t.Context()) }()
	d.release()()
	if out := <-answered; !strings.Contains(out, "roster_revision") {
		t.Errorf("the ask under way got %s", out)
	}
	within(t, "draining", func() { <-drained })
}

// TestSlowBodiesDoNotHoldUpTheDrain has clients that never send all of their questions.
func TestSlowBodiesDoNotHoldUpTheDrain(t *testing.T) {
	t.Parallel()
	d := begun(t)
	const clients = 200
	for range clients {
		c, err := net.Dial("tcp", d.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// With 100 Continue the client knows that its body is waited for.
		_, _ = io.WriteString(c, "POST "+createPath+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	d.life.Drain()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	d.Drain(ctx)
	if ctx.Err() != nil {
		t.Error("it took all of its time")
	}
}

func TestNamedLoginsOfAModuleThatNeverJoinedAreWantedByPassword(t *testing.T) {
	t.Parallel()
	d := begun(t)
	named := map[string]config.Override{subjects.AuthCheckers.FullName(): {}}
	d.registry.Configure([]config.Module{{Name: "logins", Timeout: time.Second, Callbacks: named}}, time.Second, time.Now())
	logins := func() (types map[string][]string) {
		d.service.Wake()
		d.awaitRoster()
		_, out := d.do("GET", "/_modulebus/v1/wants", nil)
		var told struct {
			Types map[string][]string `json:"login_types"`
		}
		if err := json.Unmarshal(out, &told); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		return told.Types
	}
	if got := logins(); !reflect.DeepEqual(got, map[string][]string{"m.login.password": {"password"}}) {
		t.Errorf("before it has said which, login types are %v", got)
	}
	keys := []*rosterv1.Key{{Value: "org.example.login", Fields: []string{"secret"}}}
	d.registry.Join("logins", &rosterv1.Join{
		Worker: "1", Callbacks: []string{subjects.AuthCheckers.FullName()},
		Needs: map[string]*rosterv1.Needs{subjects.AuthCheckers.FullName(): {Keys: keys}},
	}, time.Now())
	if got := logins(); !reflect.DeepEqual(got, map[string][]string{"org.example.login": {"secret"}}) {
		t.Errorf("when it has, they are %v", got)
	}
}

func TestStatusIsOfTheRosterThatAsksGoBy(t *testing.T) {
	t.Parallel()
	d := begun(t)
	d.join("gate", subjects.UserMayCreateRoom.FullName(), subjects.UserMayInvite.FullName()) // Clients are told of it later.
	rsp, out := d.do("GET", "/_modulebus/v1/modules", nil)
	var list door.ModuleList
	if err := json.Unmarshal(out, &list); err != nil || rsp.StatusCode != 200 {
		t.Fatalf("%s %s: %v", rsp.Status, out, err)
	}
	if now := d.registry.Roster().GetRevision(); list.RosterRevision != now {
		t.Errorf("it tells of revision %d, while modules are known as of %d", list.RosterRevision, now)
	}
	if !d.Client.Wants(subjects.UserMayInvite) {
		t.Error("the module is shown with a callback that is not asked")
	}
}

func TestModulesAreListedWithTheirProcesses(t *testing.T) {
	t.Parallel()
	d := begun(t)
	rsp, out := d.do("GET", "/_modulebus/v1/modules", nil)
	var list door.ModuleList
	if err := json.Unmarshal(out, &list); err != nil || rsp.StatusCode != 200 || len(list.Modules) != 1 {
		t.Fatalf("%s %s: %v", rsp.Status, out, err)
	}
	if p := list.Modules[0].Process("1"); p == nil || p.PID != 4711 || p.Restarts != 1 || !strings.Contains(p.LastError, "exit status 1") {
		t.Errorf("its process is %+v", p)
	}
	if p := list.Modules[0].Process("2"); p != nil {
		t.Errorf("there is another process: %+v", p)
	}
	if list.Config.Error != "a mistake" {
		t.Errorf("the configuration is %+v", list.Config)
	}
}

func TestRestartAnswersWhenItIsDone(t *testing.T) {
	t.Parallel()
	d := begun(t)
	if rsp, out := d.do("POST", "/_modulebus/v1/modules/gate/restart", nil); rsp.StatusCode != 200 || !strings.Contains(string(out), `"workers":1`) {
		t.Errorf("%s %s", rsp.Status, out)
	}
	rsp, out := d.do("POST", "/_modulebus/v1/modules/other/restart", nil)
	wants(t, rsp, out, 409, "M_UNKNOWN")
}

func TestBusdHasAPointerForPeople(t *testing.T) {
	t.Parallel()
	d := begun(t)
	if rsp, out := d.do("GET", "/", nil); rsp.StatusCode != 200 || !strings.Contains(string(out), "/_modulebus/v1/modules") {
		t.Errorf("%s %s", rsp.Status, out)
	}
}

// TestModulesCannotRegisterBusdsPaths reads the routes off the source, so that a new one cannot be forgotten.
func TestModulesCannotRegisterBusdsPaths(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("http.go")
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile(`\{path: "([^"]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(paths) < 6 {
		t.Fatalf("found the routes %q", paths)
	}
	for _, p := range paths {
		path := strings.TrimSuffix(regexp.MustCompile(`/\{.*`).ReplaceAllString(p[1], ""), "/")
		if err := webpath.Check(path); err == nil {
			t.Errorf("a module can register %q", path)
		}
		if owner := webpath.Owner(path); path != "" && owner != "busd" {
			t.Errorf("%s is %q's: busd does not serve it", path, owner)
		}
	}
}

// upload is a question with a file.
func upload(t *testing.T, question, file string) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, part := range []struct{ name, text string }{{"request", question}, {"file", file}} {
		if part.text == "" {
			continue
		}
		p, err := w.CreateFormFile(part.name, part.name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(p, part.text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

func TestAskWithAFile(t *testing.T) {
	t.Parallel()
	d := begun(t)
	kind, body := upload(t, string(user("evil")), "file")
	if rsp, out := d.do("POST", createPath, body, "Content-Type", kind); rsp.StatusCode != 200 || !strings.Contains(string(out), "M_FORBIDDEN") {
		t.Errorf("%s %s", rsp.Status, out)
	}
	kind, body = upload(t, string(user("evil")), "")
	rsp, out := d.do("POST", createPath, body, "Content-Type", kind)
	wants(t, rsp, out, 400, "M_BAD_JSON")
	kind, body = upload(t, "", "file")
	rsp, out = d.do("POST", createPath, body, "Content-Type", kind)
	wants(t, rsp, out, 400, "M_BAD_JSON")
	kind, body = upload(t, strings.Repeat(" ", 1<<20+1), "file")
	rsp, out = d.do("POST", createPath, body, "Content-Type", kind)
	wants(t, rsp, out, 413, "M_TOO_LARGE")
	rsp, out = d.do("POST", createPath, body, "Content-Type", "multipart/form-data")
	wants(t, rsp, out, 400, "M_BAD_JSON")
}

func TestClosedDoorEndsItsAsks(t *testing.T) {
	t.Parallel()
	d := begun(t)
	t.Cleanup(d.release())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		req, err := http.NewRequestWithContext(t.Context(), "POST", d.url+createPath, bytes.NewReader(user("slow")))
		if err != nil {
			t.Error(err)
			return
		}
		if rsp, err := d.client.Do(req); err == nil { // It may still be told.
			rsp.Body.Close()
			if rsp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("answered %s", rsp.Status)
			}
		}
	}()
	<-d.asked
	d.Close()
	within(t, "the ask", func() { <-ended })
}
