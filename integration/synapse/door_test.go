//go:build integration

package synapse_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
)

// authority is who signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "an authority of a test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	made := authority{cert: template}.sign(t, template, nil)
	cert, err := x509.ParseCertificate(made.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, made.PrivateKey.(*ecdsa.PrivateKey)}
}

// issue makes a certificate of a server at that address.
func (a authority) issue(t *testing.T, ip string) *tls.Certificate {
	t.Helper()
	return a.sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "busd"}, IPAddresses: []net.IP{net.ParseIP(ip)}}, a.key)
}

// sign makes a certificate with a key of its own, with which it is signed if there is no other.
func (a authority) sign(t *testing.T, template *x509.Certificate, with *ecdsa.PrivateKey) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if with == nil {
		with = key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), with)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// pem is what those have who trust it.
func (a authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// tlsProxy is what ends TLS in front of a busd. Both its certificate and its busd may change.
type tlsProxy struct {
	*httptest.Server
	cert atomic.Pointer[tls.Certificate]
	busd atomic.Pointer[url.URL]
}

func startTLSProxy(t *testing.T) *tlsProxy {
	t.Helper()
	p := &tlsProxy{}
	transport := &http.Transport{}
	silent := log.New(io.Discard, "", 0) // Of handshakes that fail.
	p.Server = httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(p.busd.Load()) },
		Transport: transport, ErrorLog: silent,
	})
	p.Config.ErrorLog = silent
	p.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{*p.cert.Load()}}, nil
	}}
	p.StartTLS()
	t.Cleanup(func() { p.Close(); transport.CloseIdleConnections() })
	return p
}

// show shows the certificate to whoever connects from now on, as all have to, and sends requests to that busd.
func (p *tlsProxy) show(t *testing.T, c *tls.Certificate, d *testbed.Daemon) {
	t.Helper()
	u, err := url.Parse(d.URL)
	if err != nil {
		t.Fatal(err)
	}
	p.cert.Store(c)
	p.busd.Store(u)
	p.CloseClientConnections()
}

// remote is a Synapse with a busd on another machine, as it were.
type remote struct {
	*stage
	proxy   *tlsProxy
	trusted authority // by Synapse's process
}

// tokens are what is in the files of these names.
var tokens = map[string]string{"right": "the-right-secret", "wrong": "some-other-secret"}

func prepareRemote(t *testing.T) *remote {
	t.Helper()
	r := &remote{&stage{s: prepareSynapse(t)}, startTLSProxy(t), newAuthority(t)}
	r.files(t)
	for name, token := range tokens {
		testbed.Write(t, r.file(name), token+"\n")
	}
	testbed.Write(t, r.file("ca.pem"), r.trusted.pem())
	r.s.configure(t, fmt.Sprintf(`
  - module: modulebus_synapse.ModuleBus
    config:
      url: %s
      token_file: %s
      ca_file: %s
      web: [/_synapse/client/scripted]
      on_failure: {user_may_create_room: refuse}`, r.proxy.URL, r.file("right"), r.file("ca.pem")), "")
	r.say(t, map[string]string{
		"user_may_create_room":      `{"when": "refused", "reply": {"refusal": {"error": "not this one"}}}`,
		"check_media_file_for_spam": `{"read": true}`,
	})
	return r
}

func (r *remote) file(name string) string { return filepath.Join(r.s.dir, name) }

// busd starts one that wants the token.
func (r *remote) busd(t *testing.T, token string) *testbed.Daemon {
	t.Helper()
	return testbed.Serve(t, fmt.Sprintf(`
server_name: "%s"
nats: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0", token_file: "%s"}
modules:
  - module: scripted
    run: [%s]
    config: {script: "%s", record: "%s", register: [user_may_create_room, check_media_file_for_spam]}
`, r.s.name, r.file(token), testbed.Program(t, scripted), r.script, r.record))
}

// create has alice create a room.
func (r *remote) create(t *testing.T, name string) string {
	t.Helper()
	return r.alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{"name": name}).String()
}

// well wants modules to be asked.
func (r *remote) well(t *testing.T) {
	t.Helper()
	for name, want := range map[string]string{"refused": `403 M_FORBIDDEN "not this one"`, "fine": "200"} {
		if got := eventually(t, want, func() string { return r.create(t, name) }); got != want {
			t.Errorf("while all is well, the client saw %s, want %s", got, want)
		}
	}
}

// outage waits for a line about it in what the log says since, and wants that text in it. Meanwhile what on_failure says is
// done.
func (r *remote) outage(t *testing.T, name string, since int, says, want string) {
	t.Helper()
	lines := func() (found []string) {
		for line := range strings.Lines(r.s.log.String()[since:]) {
			if strings.Contains(line, "until it is back, callbacks do as on_failure says") {
				found = append(found, line)
			}
		}
		return found
	}
	eventually(t, "1", func() string { return strconv.Itoa(len(lines())) })
	if got := r.create(t, "fine"); got != want {
		t.Errorf("%s: the client saw %s, want %s", name, got, want)
	}
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], says) {
		t.Errorf("%s: the log says of outages %q; want one, and in it %q", name, got, says)
	}
}

// carries wants what is large to pass unharmed: a file that a module is asked about, and a page.
func (r *remote) carries(t *testing.T) {
	t.Helper()
	content := make([]byte, 3<<20)
	_, _ = rand.Read(content) // It never fails.
	r.alice.must(t, "POST", "/_matrix/media/v3/upload", content)
	sum := sha256.Sum256(content)
	if calls := r.calls(t, "check_media_file_for_spam", ""); len(calls) != 1 || calls[0].SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("of an uploaded file the module read something else: %v", calls)
	}
	if page := r.s.nobody().do(t, "PUT", "/_synapse/client/scripted", content); !bytes.Equal(page.raw, content) {
		t.Errorf("a page has status %d and %d bytes of the %d that were sent", page.status, len(page.raw), len(content))
	}
}

// TestSynapseAsksOverTLS has a proxy end TLS in front of a busd that wants a token. A busd that the bridge has no reason to
// trust is an outage, and so is one that has none to trust the bridge: while Synapse runs, and when it starts.
func TestSynapseAsksOverTLS(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	r := prepareRemote(t)
	good, busd := r.trusted.issue(t, "127.0.0.1"), r.busd(t, "right")
	r.proxy.show(t, good, busd)
	r.s.start(t)
	r.populate(t)
	r.well(t)
	r.carries(t)

	const (
		refused = `403 M_FORBIDDEN "You are not permitted to create rooms"`
		failed  = `500 M_UNKNOWN "Internal server error"` // Nobody knows what is wanted: see ADR 30.
	)
	for _, o := range []struct {
		name  string
		cert  *tls.Certificate
		busd  *testbed.Daemon
		says  string // while Synapse runs
		start string // when it starts
	}{
		{"a certificate of a stranger's", newAuthority(t).issue(t, "127.0.0.1"), busd, "certificate verify failed", "certificate verify failed"},
		{"a certificate of another address", r.trusted.issue(t, "192.0.2.1"), busd, "IPAddressMismatch", "IP address mismatch"},
		{"another token", good, r.busd(t, "wrong"), "busd answered 401: this is not the token", "busd answered 401: this is not the token"},
	} {
		since := len(r.s.log.String())
		r.proxy.show(t, o.cert, o.busd)
		r.outage(t, o.name, since, o.says, refused)

		r.s.stop()
		r.s.start(t)
		r.outage(t, o.name+" at the start", 0, o.start, failed)

		r.proxy.show(t, good, busd)
		r.well(t)
		for _, token := range tokens {
			if strings.Contains(r.s.log.String(), token) {
				t.Errorf("%s: a token is in the log", o.name)
			}
		}
	}
}
