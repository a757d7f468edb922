//go:build integration

package synapse_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha512"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
)

// wordServer refuses what is evil.
func wordServer(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		if bytes.Contains(body, []byte(evilWord)) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"errcode": "M_FORBIDDEN", "error": "watches"}`)
			return
		}
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// ldapServer is a real one, in Python, with bob and carol.
func ldapServer(t *testing.T) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), testbed.Python(t), "modules/ldap.py")
	c.Env = append(os.Environ(), "PYTHONPATH="+publishedModules(t))
	c.Stderr = t.Output()
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the LDAP server says no port: %v", err)
	}
	return "ldap://127.0.0.1:" + strings.TrimSpace(port)
}

// introspection is an OAuth server that knows what tokens say: each is of the user with its name, but for nobody's, and one that begins
// with other-, which is of somebody else who claims it.
func introspection(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.FormValue("token")
		if token == "nobody" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{ // Its client may be gone.
			"active": true, "iss": "https://example.org/", "sub": token, "username": strings.TrimPrefix(token, "other-"), "name": "Name " + token,
			"email": token + "@example.org",
		})
	}))
	t.Cleanup(server.Close)
	return server.URL
}

const imapPassword = "imap secret"

// imapServer lets bob and ivan in, over TLS with a certificate that nobody vouches for.
func imapServer(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	certificate(t, dir)
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer c.Close(); serveIMAP(c) })
		}
	})
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	return listener.Addr().String()
}

// serveIMAP speaks as much of RFC 9051 as a login takes.
func serveIMAP(c net.Conn) {
	fmt.Fprint(c, "* OK IMAP4rev1 ready\r\n")
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		tag, command, _ := strings.Cut(lines.Text(), " ")
		switch command {
		case "CAPABILITY":
			fmt.Fprintf(c, "* CAPABILITY IMAP4rev1\r\n%s OK done\r\n", tag)
		case `LOGIN bob "` + imapPassword + `"`, `LOGIN ivan "` + imapPassword + `"`:
			fmt.Fprintf(c, "%s OK done\r\n", tag)
		case "LOGOUT":
			fmt.Fprintf(c, "* BYE\r\n%s OK done\r\n", tag)
			return
		default:
			fmt.Fprintf(c, "%s NO\r\n", tag)
		}
	}
}

// jwt is a token for a user, for an hour.
func jwt(name, secret string) string {
	part := func(v any) string {
		raw, _ := json.Marshal(v) // It never fails.
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	text := part(map[string]any{"alg": "HS512", "typ": "JWT"}) + "." + part(map[string]any{"sub": name, "exp": time.Now().Add(time.Hour).Unix()})
	mac := hmac.New(sha512.New, []byte(secret))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
