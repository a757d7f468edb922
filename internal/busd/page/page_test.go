package page_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/internal/busd/page"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// busd is what a page shows, as a test has it.
type busd struct {
	t       *testing.T
	page    *page.Page
	records *records.Recorder
	guard   *access.Guard
	handler http.Handler // of the page
	token   string       // file with the token that may read

	mu      sync.Mutex
	modules []operatordoor.ModuleStatus
	config  operatordoor.ConfigStatus
}

// newBusd has a token "looks" that may read, and "asks" that may not.
func newBusd(t *testing.T) *busd {
	t.Helper()
	b := &busd{t: t, records: records.New(), token: filepath.Join(t.TempDir(), "token")}
	asks := filepath.Join(t.TempDir(), "token")
	b.write(b.token, "looks")
	b.write(asks, "asks")
	var err error
	b.guard, err = access.NewGuard("example.com", config.HTTP{Listen: "127.0.0.1:1", Tokens: []config.Token{
		{File: b.token, Scopes: []string{config.ScopeRead}}, {File: asks, Scopes: []string{config.ScopeAsk}},
	}}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	b.page = page.New(page.Options{
		ServerName: "example.com", Records: b.records, Metrics: prometheus.NewRegistry(), Guard: b.guard, Life: door.NewLife(), Log: zerolog.New(zerolog.NewTestWriter(t)),
		Modules: func() []operatordoor.ModuleStatus { b.mu.Lock(); defer b.mu.Unlock(); return b.modules },
		Config:  func() operatordoor.ConfigStatus { b.mu.Lock(); defer b.mu.Unlock(); return b.config },
	})
	b.handler = opened(t, b.page)
	return b
}

// opened opens a page until the test ends, and returns what answers its routes: who may read is the door's to look after.
func opened(t testing.TB, p *page.Page) http.Handler {
	t.Helper()
	if err := p.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	mux := http.NewServeMux()
	for _, r := range p.Routes() {
		mux.HandleFunc(r.Method+" "+r.Pattern(), r.Handler)
	}
	return mux
}

func (b *busd) write(file, text string) {
	b.t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

func (b *busd) has(c operatordoor.ConfigStatus, modules ...operatordoor.ModuleStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.config, b.modules = c, modules
}

// get returns the status and the page, for who may read.
func (b *busd) get(path string) (int, string, http.Header) {
	b.t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Header.Set("Authorization", "Bearer looks")
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Header()
}

// decided makes a record of a refusal, or of a failure with a text.
func (b *busd) decided(module, failure string) {
	part := bus.ModuleTrace{Module: module, Worker: module, Asked: true, Said: bus.SaidRefusal, Errcode: module, Counted: true}
	t := &bus.Trace{Callback: subjects.UserMayCreateRoom.Declaration, Start: time.Now(), Outcome: bus.OutcomeRefused, DecidedBy: module, Context: context.Background()}
	if failure != "" {
		part.Said, part.Failure, part.Text, part.Policy = bus.SaidFailure, rosterv1.FailureKind_ERROR, failure, callbacksv1.OnFailure_SKIP
	}
	t.Modules = []bus.ModuleTrace{part}
	b.records.Observe(t)
}

func (b *busd) last() string {
	b.t.Helper()
	found, err := b.records.Last(b.t.Context(), all, 1)
	if err != nil || len(found) == 0 {
		b.t.Fatalf("no record: %v", err)
	}
	return found[0].ID
}

// says wants a page to have all texts.
func says(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("%q is not in\n%s", text, page)
		}
	}
}

func gate(change func(*operatordoor.ModuleStatus)) operatordoor.ModuleStatus {
	m := operatordoor.ModuleStatus{Status: roster.Status{
		Name: "gate", Order: 1, State: roster.Ready, Workers: 1, Version: "1.2.3", Callbacks: []string{"spam_checker.user_may_create_room"},
		WorkerList: []roster.Worker{{Name: "w1", Since: time.Now()}},
	}, Processes: []operatordoor.Process{{Worker: "w1", PID: 4711, StartedAt: time.Now(), Restarts: 2}}}
	change(&m)
	return m
}

func TestPageShowsHowModulesAre(t *testing.T) {
	t.Parallel()
	failing := roster.Failing{Callback: "spam_checker.user_may_create_room", Failure: "timeout", InARow: 7, Open: true, Recent: true}
	for name, tt := range map[string]struct {
		change func(*operatordoor.ModuleStatus)
		want   []string
	}{
		"ready":        {func(*operatordoor.ModuleStatus) {}, []string{"The module is well", "version 1.2.3, 1 worker", "4711", "w1", "Failure when last asked", "no failure", "no answers"}},
		"absent":       {func(m *operatordoor.ModuleStatus) { m.State, m.Remembered = roster.Absent, true }, []string{"Not well", "absent, has not joined since busd started"}},
		"unknown":      {func(m *operatordoor.ModuleStatus) { m.State, m.Unknown = roster.Absent, true }, []string{"absent, has never joined"}},
		"starting":     {func(m *operatordoor.ModuleStatus) { m.State = roster.Starting }, []string{`class="state fair"`, "starting", "Not well"}},
		"stale config": {func(m *operatordoor.ModuleStatus) { m.LastError = "config refused: no" }, []string{"Not well", "ready"}},
		"failed": {func(m *operatordoor.ModuleStatus) {
			m.State, m.LastError, m.LastErrorAt = roster.Failed, "config refused: no", time.Unix(1e9, 0)
		}, []string{"Not well", "failed", ">2001-09-09 01:46:40 UTC</time>: config refused: no"}},
		"over": {func(m *operatordoor.ModuleStatus) { m.LastError, m.LastErrorOver = "exit status 1", true }, []string{
			"The module is well", "Last error, which is over: exit status 1",
		}},
		"breaker":  {func(m *operatordoor.ModuleStatus) { m.Failing = []roster.Failing{failing} }, []string{"open: left alone", "timeout, 7 in a row"}},
		"shadow":   {func(m *operatordoor.ModuleStatus) { m.Shadow = true }, []string{"ready, in shadow"}},
		"unlisted": {func(m *operatordoor.ModuleStatus) { m.State, m.Order = roster.Unlisted, 0 }, []string{"unlisted", `class="state quiet"`, "No module is listed"}},
		"news":     {func(m *operatordoor.ModuleStatus) { m.News = &roster.News{Waiting: 12} }, []string{"12 pieces of news wait"}},
		"dying":    {func(m *operatordoor.ModuleStatus) { m.WorkerList, m.Processes[0].LastError = nil, "said its last" }, []string{"said its last"}},
		"pages":    {func(m *operatordoor.ModuleStatus) { m.WebResources = []string{"/_synapse/client/gate"} }, []string{"/_synapse/client/gate"}},
		"elsewhere": {func(m *operatordoor.ModuleStatus) { m.Processes = nil }, []string{
			"not run by this busd",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBusd(t)
			b.has(operatordoor.ConfigStatus{TakenAt: time.Now()}, gate(tt.change))
			status, page, _ := b.get("/_modulebus/")
			if status != http.StatusOK {
				t.Fatalf("%d %s", status, page)
			}
			says(t, page, tt.want...)
		})
	}
}

func TestPageNamesSomeOfManyModulesThatAreNotWell(t *testing.T) {
	t.Parallel()
	b := newBusd(t)
	var all []operatordoor.ModuleStatus
	for i := range 200 {
		all = append(all, gate(func(m *operatordoor.ModuleStatus) { m.Name, m.State = fmt.Sprintf("m%d", i), roster.Absent }))
	}
	b.has(operatordoor.ConfigStatus{}, all...)
	_, page, _ := b.get("/_modulebus/")
	says(t, page, `<a href="#module-m11">m11</a>, and 188 more.`, `id="module-m199"`)
}

func TestPageShowsWhatAReloadDid(t *testing.T) {
	t.Parallel()
	b := newBusd(t)
	b.has(operatordoor.ConfigStatus{
		TakenAt: time.Unix(1e9, 0), Error: "busd.yaml:3:1: nonsense", RefusedAt: time.Now(), RestartFor: []string{"nats", "http"},
		Changed: &operatordoor.Changed{Added: []string{"a"}, Removed: []string{"b", "c"}, Restarted: []string{"d"}, Changed: []string{"e"}, Reordered: true},
	})
	_, page, _ := b.get("/_modulebus/")
	says(t, page, "taken over <time datetime=\"2001-09-09T01:46:40Z\" title=\"2001-09-09T01:46:40Z\">2001-09-09 01:46:40 UTC</time>", "busd.yaml:3:1: nonsense", "<strong>nats</strong>, <strong>http</strong>", "Added: <strong>a</strong>.",
		"Removed: <strong>b</strong>, <strong>c</strong>.", "Restarted: <strong>d</strong>.", "Changed: <strong>e</strong>.", "The order is another one.", "lists no module")
	if strings.Contains(page, " ago") { // The part is as it is for as long as the configuration holds.
		t.Error("what is kept says how long ago something was")
	}
	b2 := newBusd(t)
	b2.has(operatordoor.ConfigStatus{TakenAt: time.Now(), Changed: &operatordoor.Changed{}})
	_, page, _ = b2.get("/_modulebus/")
	says(t, page, "It changed no module.")
}

// TestPageIsNobodysToWrite has everything that others say be HTML, in each place of each page.
func TestPageIsNobodysToWrite(t *testing.T) {
	t.Parallel()
	const evil = `x" onload="f()'><img src=x onerror=f()><script>f()</script></title>` + "\r\nevent: part"
	b := newBusd(t)
	f := roster.Failing{Callback: evil, Failure: evil}
	b.has(operatordoor.ConfigStatus{Error: evil, RestartFor: []string{evil}, Changed: &operatordoor.Changed{Added: []string{evil}}}, operatordoor.ModuleStatus{
		Status: roster.Status{
			Name: evil, State: roster.State(evil), Version: evil, LastError: evil, Callbacks: []string{evil}, WebResources: []string{evil},
			WorkerList: []roster.Worker{{Name: evil, Version: evil}}, Failing: []roster.Failing{f},
		},
		Processes: []operatordoor.Process{{Worker: "another", LastError: evil}},
	})
	b.decided(evil, "")
	b.decided(evil, evil)
	ctx, cancel := context.WithCancel(t.Context())
	live := b.follow(ctx, "")
	live.until("event: part", "event: modules")
	cancel()
	live.ended()
	for _, path := range []string{"/_modulebus/", "/_modulebus/explain?id=" + url.QueryEscape(evil), "/_modulebus/explain?id=" + b.last()} {
		_, page, _ := b.get(path)
		says(t, page, "&lt;img src=x onerror=f()&gt;")
		harmless(t, path, page)
	}
	harmless(t, "the stream", live.String())
	if strings.Contains(live.String(), "\nevent: part\" ") || strings.Contains(live.String(), "\r") {
		t.Errorf("an event was forged:\n%s", live)
	}
}

var attribute = regexp.MustCompile(`<[^>]*\sonload="`)

func harmless(t *testing.T, where, html string) {
	t.Helper()
	if strings.Contains(html, "<img") || strings.Contains(html, "<script>") || attribute.MatchString(html) {
		t.Errorf("%s has what others wrote as HTML:\n%s", where, html)
	}
}

func TestPageLoadsNothingButItsOwn(t *testing.T) {
	t.Parallel()
	b := newBusd(t)
	_, page, header := b.get("/_modulebus/")
	policy := header.Get("Content-Security-Policy")
	nonce := regexp.MustCompile(`script-src 'nonce-([^']+)'`).FindStringSubmatch(policy)
	if nonce == nil || !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
		t.Fatalf("the policy is %q", policy)
	}
	if strings.Count(page, nonce[1]) != 2 || header.Get("Cache-Control") != "no-store" || header.Get("X-Frame-Options") != "DENY" {
		t.Errorf("%v\n%s", header, page)
	}
	if _, again, _ := b.get("/_modulebus/"); strings.Contains(again, nonce[1]) {
		t.Error("a nonce is used twice")
	}
	for name, want := range map[string]int{"page.css": 200, "page.js": 200, "overview.html": 404, "..%2fpage.go": 404} {
		if status, _, _ := b.get("/_modulebus/assets/" + name); status != want {
			t.Errorf("%s: %d", name, status)
		}
	}
}

func TestPageExplainsADecision(t *testing.T) {
	t.Parallel()
	b := newBusd(t)
	b.decided("gate", "its database is away")
	status, page, _ := b.get("/_modulebus/explain?id=" + b.last())
	if status != http.StatusOK {
		t.Errorf("%d", status)
	}
	says(t, page, "spam_checker.user_may_create_room: refused by gate", "failure: error (its database is away), on_failure: skip", b.last())
	for path, want := range map[string]int{"/_modulebus/explain": 400, "/_modulebus/explain?id=d-1": 404, "/_modulebus/explain?id=%00%ff": 404} {
		status, page, _ := b.get(path)
		if status != want {
			t.Errorf("%s: %d", path, status)
		}
		says(t, page, "No decision", `role="alert"`)
	}
}

func TestPageAsksToSignIn(t *testing.T) {
	t.Parallel()
	b := newBusd(t)
	post := func(form string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/_modulebus/sign-in", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		b.handler.ServeHTTP(w, r)
		return w
	}
	for form, want := range map[string]struct {
		status int
		text   string
	}{
		"token=guessed&id=d-1":               {401, `name="id" value="d-1"`},
		"token=asks":                         {403, "this token has the scope ask"},
		"":                                   {401, "this is not the token"},
		"%":                                  {400, "cannot be read"},
		"token=" + strings.Repeat("x", 9000): {413, "cannot be read"},
	} {
		w := post(form)
		if w.Code != want.status || len(w.Result().Cookies()) > 0 {
			t.Errorf("%.20s: %d %v", form, w.Code, w.Result().Cookies())
		}
		says(t, w.Body.String(), want.text, `action="/_modulebus/sign-in"`)
	}
	for form, to := range map[string]string{"token=looks": "/_modulebus/", "token=looks&id=//evil.example/%0d%0a": "/_modulebus/explain?id=%2F%2Fevil.example%2F%0D%0A"} {
		w := post(form)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != to || len(w.Result().Cookies()) != 1 {
			t.Errorf("%s: %d %v", form, w.Code, w.Header())
		}
	}
	w := post("token=looks")
	r := httptest.NewRequest("POST", "/_modulebus/sign-out", nil)
	r.AddCookie(w.Result().Cookies()[0])
	if out := httptest.NewRecorder(); b.guard.DeniesPage(r) != nil {
		t.Error("signed in, the page is denied")
	} else if b.handler.ServeHTTP(out, r); b.guard.DeniesPage(r) == nil || out.Code != http.StatusSeeOther {
		t.Errorf("signed out, the page is not denied: %d", out.Code)
	}
}

// TestPageSaysWhereToSignIn has a browser at another machine, over plain HTTP.
func TestPageSaysWhereToSignIn(t *testing.T) {
	t.Parallel()
	b := newBusd(t)
	for method, answer := range map[string]http.HandlerFunc{
		"GET": func(w http.ResponseWriter, r *http.Request) { b.page.Deny(w, r, b.guard.DeniesPage(r)) }, "POST": b.handler.ServeHTTP,
	} {
		r := httptest.NewRequest(method, "/_modulebus/sign-in", strings.NewReader("token=looks"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("User-Agent", "Mozilla/5.0")
		w := httptest.NewRecorder()
		answer(w, r)
		if w.Code != http.StatusForbidden || len(w.Result().Cookies()) > 0 || strings.Contains(w.Body.String(), "<form") {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
		says(t, w.Body.String(), "ssh -L 8010:127.0.0.1:8010", `role="alert"`)
	}
}

// TestPageReadsNothingOfWhoMayNot has a body that is never over, of a browser that has shown no token.
func TestPageReadsNothingOfWhoMayNot(t *testing.T) {
	t.Parallel()
	b := newBusd(t)
	body := &untouched{}
	r := httptest.NewRequest("GET", "/_modulebus/explain?id=d-1", body)
	r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
	w := httptest.NewRecorder()
	b.page.Deny(w, r, b.guard.DeniesPage(r))
	says(t, w.Body.String(), `name="id" value="d-1"`)
	if w.Code != http.StatusUnauthorized || body.read {
		t.Errorf("%d, and the body was read: %v", w.Code, body.read)
	}
}

// untouched is a body that tells whether anybody read it.
type untouched struct{ read bool }

func (u *untouched) Read([]byte) (int, error) { u.read = true; return 0, io.ErrUnexpectedEOF }
