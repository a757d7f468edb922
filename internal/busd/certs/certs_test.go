package certs_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/certs"
	"github.com/modulebus/modulebus/internal/busd/certs/certstest"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/waittest"
)

// listen serves handshakes, and returns where.
func listen(t *testing.T, c config.TLS) string {
	t.Helper()
	server, err := certs.Server(c, "http.tls", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if conn.(*tls.Conn).HandshakeContext(t.Context()) == nil {
				_, _ = conn.Write([]byte("."))
			}
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// meets connects, and reads what only those read whom the server lets in.
func meets(t *testing.T, d *certs.Dialer, address string) error {
	t.Helper()
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Read(make([]byte, 1))
	return err
}

func client(t *testing.T, c config.TLS) *certs.Dialer {
	t.Helper()
	d, err := certs.Client(c, "homeserver.tls", zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestClientTrustsItsAuthorityAlone(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue("127.0.0.1")
	address := listen(t, config.TLS{Cert: cert, Key: key})
	if err := meets(t, client(t, config.TLS{CA: a.File}), address); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]config.TLS{"the system's": {}, "another": {CA: certstest.New(t).File}} {
		if err := meets(t, client(t, c), address); err == nil {
			t.Errorf("%s authority lets it in", name)
		}
	}
}

func TestServerWithAnAuthorityWantsClientsCertificates(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue("127.0.0.1")
	address := listen(t, config.TLS{Cert: cert, Key: key, CA: a.File})
	own, ownKey := a.Issue("somebody")
	if err := meets(t, client(t, config.TLS{CA: a.File, Cert: own, Key: ownKey}), address); err != nil {
		t.Error(err)
	}
	other, otherKey := certstest.New(t).Issue("somebody")
	for _, c := range []config.TLS{{CA: a.File}, {CA: a.File, Cert: other, Key: otherKey}} {
		if err := meets(t, client(t, c), address); err == nil {
			t.Errorf("%+v is let in", c)
		}
	}
}

// TestCertificateIsReplacedWhileInUse has a certificate for another host at first, which no client takes.
func TestCertificateIsReplacedWhileInUse(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue("elsewhere.example")
	address := listen(t, config.TLS{Cert: cert, Key: key})
	d := client(t, config.TLS{CA: a.File})
	if err := meets(t, d, address); err == nil {
		t.Fatal("a certificate for another host is taken")
	}
	a.Replace(cert, key, "127.0.0.1")
	waittest.Until(t, "the server shows its new certificate", func() bool { return meets(t, d, address) == nil })
}

// TestCertificateThatHasExpiredIsTold has one replaced with one that is out of date, and another that is not.
func TestCertificateThatHasExpiredIsTold(t *testing.T) {
	t.Parallel()
	a, said := certstest.New(t), &waittest.Log{}
	cert, key := a.Issue("127.0.0.1")
	made, err := certs.Server(config.TLS{Cert: cert, Key: key}, "http.tls", zerolog.New(said))
	if err != nil {
		t.Fatal(err)
	}
	a.ReplaceUntil(cert, key, "127.0.0.1", time.Now().Add(-time.Minute))
	waittest.Until(t, "the log says so", func() bool {
		_, err := made.GetConfigForClient(nil)
		return err == nil && said.Count("http.tls.cert: "+cert+" has expired at ") == 1
	})
}

func TestAuthorityIsReplacedWhileInUse(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue("127.0.0.1")
	address := listen(t, config.TLS{Cert: cert, Key: key})
	trusted := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.Link(certstest.New(t).File, trusted); err != nil {
		t.Fatal(err)
	}
	d := client(t, config.TLS{CA: trusted})
	if err := meets(t, d, address); err == nil {
		t.Fatal("the wrong authority is trusted")
	}
	if err := os.Rename(a.File, trusted); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the client trusts its new authority", func() bool { return meets(t, d, address) == nil })
}

func TestFileThatIsNoCertificateIsAnError(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue("127.0.0.1")
	_, otherKey := a.Issue("127.0.0.1")
	for _, tt := range []struct {
		tls  config.TLS
		want string
	}{
		{config.TLS{Cert: "nothing", Key: key}, "http.tls: open nothing"},
		{config.TLS{Cert: cert, Key: otherKey}, "http.tls: tls: private key does not match"},
		{config.TLS{Cert: key, Key: key}, "http.tls: tls: "},
		{config.TLS{Cert: cert, Key: key, CA: key}, "http.tls.ca: "},
	} {
		_, err := certs.Server(tt.tls, "http.tls", zerolog.Nop())
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.tls.Key) {
			t.Errorf("%+v: got %v, want %q, and the file", tt.tls, err, tt.want)
		}
	}
	if c, err := certs.Server(config.TLS{}, "http.tls", zerolog.Nop()); c != nil || err != nil {
		t.Errorf("without a certificate: %v, %v", c, err)
	}
}

// TestOnlyTakesTheServersOwnCertificate has a certificate for a host's name, reached by its address.
func TestOnlyTakesTheServersOwnCertificate(t *testing.T) {
	t.Parallel()
	a := certstest.New(t)
	cert, key := a.Issue("busd.example.com")
	address := listen(t, config.TLS{Cert: cert, Key: key})
	other, _ := a.Issue("busd.example.com")
	for file, want := range map[string]bool{cert: true, other: false} {
		only, err := certs.Only(file)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := (&tls.Dialer{Config: only}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			conn.Close()
		}
		if (err == nil) != want {
			t.Errorf("%s: %v", file, err)
		}
	}
	if _, err := certs.Only(key); err == nil {
		t.Error("a key is taken for a certificate")
	}
}
