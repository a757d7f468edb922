package door_test

import (
	"bufio"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/certs"
	"github.com/modulebus/modulebus/internal/busd/certs/certstest"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

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

func TestDoorAnswersNothingBeforeBusdHasBegun(t *testing.T) {
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
	if rsp, out := d.do("GET", "/readyz", nil); rsp.StatusCode != 200 || string(out) != `{"config_error":"a mistake","ready":true}` {
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

func TestBusdHasAPointerForPeople(t *testing.T) {
	t.Parallel()
	d := begun(t)
	if rsp, out := d.do("GET", "/", nil); rsp.StatusCode != 200 || !strings.Contains(string(out), "/_modulebus/v1/modules") {
		t.Errorf("%s %s", rsp.Status, out)
	}
}

// TestModulesCannotRegisterBusdsPaths looks at all routes, those of the policy server and of the page among them: another test holds
// the list to them.
func TestModulesCannotRegisterBusdsPaths(t *testing.T) {
	t.Parallel()
	patterns := append(slices.Collect(maps.Keys(needed)), "/_meowlnir/antispam/", "/api/1/spam_check/")
	for _, pattern := range patterns {
		path := strings.TrimSuffix(regexp.MustCompile(`/\{.*`).ReplaceAllString(pattern, ""), "/")
		if err := webpath.Check(path); err == nil {
			t.Errorf("a module can register %q", path)
		}
		ofMatrix := strings.HasPrefix(path, "/_matrix/policy/") || strings.HasPrefix(path, "/.well-known/matrix/")
		if owner := webpath.Owner(path); path != "" && owner != "busd" && !ofMatrix {
			t.Errorf("%s is %q's: busd does not serve it", path, owner)
		}
	}
}

// TestReadyTellsWhatIsWrongAlthoughBusdIsReady has a module that refused a new configuration and goes on with the old one, and a NATS
// that cannot store.
func TestReadyTellsWhatIsWrongAlthoughBusdIsReady(t *testing.T) {
	t.Parallel()
	d := begun(t)
	refusal := &rosterv1.Join{Worker: "1", Callbacks: []string{subjects.UserMayCreateRoom.FullName()}, ConfigError: &rosterv1.ConfigError{Path: "deny", Error: "no list"}}
	d.roster.Join("gate", refusal, time.Now())
	d.trouble = "JetStream stream 'news' is not healthy"
	rsp, out := d.do("GET", "/readyz", nil)
	if rsp.StatusCode != http.StatusOK {
		t.Errorf("%s %s", rsp.Status, out)
	}
	for _, want := range []string{`"ready":true`, `"troubled":[{"name":"gate"`, "config refused: deny: no list", `"last_error_at":"`, `"nats_error":"JetStream stream 'news'`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%s is not in %s", want, out)
		}
	}
}
