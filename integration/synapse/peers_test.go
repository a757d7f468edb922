//go:build integration

package synapse_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// peer is another homeserver, without modules, and a user of it; and an identity server.
type peer struct {
	s        *synapse
	carol    user
	identity string // host and port
}

func startPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{s: startSynapse(t, " []", ""), identity: identityServer(t)}
	p.carol = p.s.register(t, "carol", false)
	return p
}

// identityServer knows nobody, and stores invites.
func identityServer(t *testing.T) string {
	t.Helper()
	answers := map[string]string{
		"/_matrix/identity/v2/hash_details": `{"lookup_pepper": "pepper", "algorithms": ["sha256"]}`,
		"/_matrix/identity/v2/lookup":       `{"mappings": {}}`,
		"/_matrix/identity/v2/store-invite": `{"token": "t", "display_name": "f...@example.org", "public_key": "` + identityKey + `",
			"public_keys": [{"public_key": "` + identityKey + `", "key_validity_url": "https://localhost/valid"}]}`,
	}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer, ok := answers[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			answer = `{"errcode": "M_UNRECOGNIZED", "error": "no"}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

const identityKey = "ta8IQ0u1sp44HVpxYi7dFOdS/bfwDjcy4xLFlfY5KOA"

// emailConfig has Synapse send email to a server that throws it away.
func emailConfig(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go swallow(c)
		}
	}()
	return sendMailTo(l)
}

// swallow speaks as much SMTP as it takes to be given a mail.
func swallow(c net.Conn) {
	defer c.Close()
	say := func(line string) { _, _ = fmt.Fprint(c, line+"\r\n") } // It fails when the client is gone.
	say("220 test")
	lines := bufio.NewScanner(c)
	for data := false; lines.Scan(); {
		line := strings.ToUpper(lines.Text())
		switch {
		case data && line == ".":
			data = false
			say("250 ok")
		case data:
		case line == "DATA":
			data = true
			say("354 go on")
		case line == "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}
