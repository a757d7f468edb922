package httpdoor_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/certs"
	"github.com/modulebus/modulebus/internal/busd/certs/certstest"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	"github.com/modulebus/modulebus/internal/busd/door/httpdoor"
)

func TestDoorSpeaksTLS(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue("127.0.0.1")
	d := doortest.New(t).Serve(config.HTTP{TLS: config.TLS{Cert: cert, Key: key}})
	d.Life.Begin()
	plain, out := d.Do("POST", doortest.CreatePath, doortest.User("evil"))
	if plain.StatusCode != 400 {
		t.Errorf("without TLS: %s %s", plain.Status, out)
	}
	dialer, err := certs.Client(config.TLS{CA: a.File}, "", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	d.Browser.Transport.(*http.Transport).DialTLSContext = dialer.DialContext
	d.URL = "https://" + d.Addr()
	if rsp, out := d.Do("POST", doortest.CreatePath, doortest.User("evil")); rsp.StatusCode != 200 || !strings.Contains(string(out), "M_FORBIDDEN") {
		t.Errorf("%s %s", rsp.Status, out)
	}
}

func TestDoorWithABadCertificateDoesNotOpen(t *testing.T) {
	t.Parallel()
	d := httpdoor.New(doortest.New(t).Options(config.HTTP{Listen: "127.0.0.1:0", TLS: config.TLS{Cert: "nothing", Key: "nothing"}}))
	defer d.Close()
	if err := d.Open(); err == nil || !strings.HasPrefix(err.Error(), "http.tls: open nothing") {
		t.Errorf("got %v", err)
	}
}

func TestDoorThatCannotOpenSaysWhy(t *testing.T) {
	t.Parallel()
	h := doortest.New(t)
	taken := h.Serve(config.HTTP{}).Addr()
	d := httpdoor.New(h.Options(config.HTTP{Listen: taken}))
	defer d.Close()
	if err := d.Open(); err == nil || !strings.Contains(err.Error(), "http.listen: cannot listen on "+taken) {
		t.Errorf("got %v", err)
	}
}

func TestDoorAnswersNothingBeforeBusdHasBegun(t *testing.T) {
	t.Parallel()
	d := doortest.New(t).Serve(config.HTTP{})
	for _, r := range []struct{ method, path string }{
		{"POST", doortest.CreatePath}, {"GET", "/_modulebus/v1/wants"}, {"GET", "/_synapse/client/page"},
	} {
		rsp, out := d.Do(r.method, r.path, []byte("{}"))
		doortest.Wants(t, rsp, out, 503, "M_UNKNOWN")
		if rsp.Header.Get("Retry-After") == "" {
			t.Errorf("%s has no Retry-After", r.path)
		}
	}
	if rsp, _ := d.Do("GET", "/readyz", nil); rsp.StatusCode != 503 {
		t.Errorf("/readyz: %s", rsp.Status)
	}
	if rsp, _ := d.Do("GET", "/_modulebus/v1/modules", nil); rsp.StatusCode != 200 {
		t.Errorf("the modules: %s", rsp.Status)
	}
	go d.Life.Begin()
	if rsp, out := d.Do("POST", doortest.CreatePath, doortest.User("evil")); rsp.StatusCode != 200 {
		t.Errorf("a moment before it begins: %s %s", rsp.Status, out)
	}
}

func TestDrainFinishesWhatIsUnderWayAndTurnsTheRestAway(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	answered := make(chan string, 1)
	go func() {
		_, out := d.Do("POST", doortest.CreatePath, doortest.User("slow"))
		answered <- string(out)
	}()
	<-d.Asked
	d.Life.Drain()
	rsp, out := d.Do("POST", doortest.CreatePath, doortest.User("evil"))
	doortest.Wants(t, rsp, out, 503, "M_UNKNOWN")
	if rsp.Header.Get("Retry-After") == "" {
		t.Error("without Retry-After")
	}
	drained := make(chan struct{})
	go func() { defer close(drained); d.Drain(t.Context()) }()
	d.Release()()
	if out := <-answered; !strings.Contains(out, "roster_revision") {
		t.Errorf("the ask under way got %s", out)
	}
	doortest.Within(t, "draining", func() { <-drained })
}

// TestSlowBodiesDoNotHoldUpTheDrain has clients that never send all of their questions.
func TestSlowBodiesDoNotHoldUpTheDrain(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	const clients = 200
	for range clients {
		c, err := net.Dial("tcp", d.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// With 100 Continue the client knows that its body is waited for.
		_, _ = io.WriteString(c, "POST "+doortest.CreatePath+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "100") {
			t.Fatalf("got %q, %v", line, err)
		}
	}
	d.Life.Drain()
	ctx, cancel := context.WithTimeout(t.Context(), doortest.Patience)
	defer cancel()
	d.Drain(ctx)
	if ctx.Err() != nil {
		t.Error("it took all of its time")
	}
}

func TestBusdHasAPointerForPeople(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	if rsp, out := d.Do("GET", "/", nil); rsp.StatusCode != 200 || !strings.Contains(string(out), "/_modulebus/v1/modules") {
		t.Errorf("%s %s", rsp.Status, out)
	}
}
