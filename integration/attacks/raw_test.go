package attacks_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"github.com/modulebus/modulebus/integration/testbed"
)

// raw is a connection to NATS without a client: what is said is what a test writes.
type raw struct {
	net.Conn
	t     *testing.T
	lines *bufio.Scanner
	nonce string
}

// dial connects to the first server, and reads what it says of itself.
func dial(t *testing.T, d *testbed.Daemon) *raw {
	t.Helper()
	where, _, _ := strings.Cut(strings.TrimPrefix(d.NATS, "nats://"), ",")
	conn, err := (&net.Dialer{}).DialContext(testbed.Bounded(t), "tcp", where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	r := &raw{Conn: conn, t: t, lines: bufio.NewScanner(conn)}
	if err := conn.SetDeadline(time.Now().Add(testbed.Patience)); err != nil {
		t.Fatal(err)
	}
	var info struct{ Nonce string }
	if !r.lines.Scan() || json.Unmarshal([]byte(strings.TrimPrefix(r.lines.Text(), "INFO ")), &info) != nil || info.Nonce == "" {
		t.Fatalf("NATS begins with %q: %v", r.lines.Text(), r.lines.Err())
	}
	r.nonce = info.Nonce
	return r
}

// say writes text, and returns what is answered until NATS has read all of it, or has closed the connection, which it reports.
func (r *raw) say(text string) (answers []string, open bool) {
	r.t.Helper()
	if _, err := r.Write([]byte(text + "\r\nPING\r\n")); err != nil {
		return nil, false
	}
	for r.lines.Scan() {
		switch line := r.lines.Text(); line {
		case "PONG":
			return answers, true
		case "PING":
			_, _ = r.Write([]byte("PONG\r\n")) // If it is closed, the next line says so.
		default:
			answers = append(answers, line)
		}
	}
	return answers, false
}

// identity is what a credentials file holds.
type identity struct {
	token string
	key   nkeys.KeyPair
}

func identityOf(t *testing.T, file string) (i identity) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		i.token, err = jwt.ParseDecoratedJWT(text)
	}
	if err == nil {
		i.key, err = nkeys.ParseDecoratedNKey(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// sign is a signature of a text as NATS spells it.
func sign(t *testing.T, key nkeys.KeyPair, text string) string {
	t.Helper()
	signature, err := key.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(signature)
}

// login is what a client says to come in, and what else a test has it say.
func (i identity) login(r *raw, more map[string]any) string {
	r.t.Helper()
	says := map[string]any{
		"jwt": i.token, "sig": sign(r.t, i.key, r.nonce), "name": attacker + "/w", "protocol": 1, "headers": true, "verbose": false, "pedantic": false, "lang": "raw",
	}
	maps.Copy(says, more)
	text, err := json.Marshal(says)
	if err != nil {
		r.t.Fatal(err)
	}
	return "CONNECT " + string(text)
}

// enter is a connection that has come in.
func (i identity) enter(t *testing.T, d *testbed.Daemon) *raw {
	t.Helper()
	r := dial(t, d)
	if answers, open := r.say(i.login(r, nil)); !open {
		t.Fatalf("NATS closes the connection: %q", answers)
	}
	return r
}

// altered is a token with other claims, which a key signs; nil for the signature of before.
func altered(t *testing.T, token string, by nkeys.KeyPair, change func(claims, nats map[string]any)) string {
	t.Helper()
	parts := strings.Split(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	claims := map[string]any{}
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	change(claims, claims["nats"].(map[string]any))
	if text, err = json.Marshal(claims); err != nil {
		t.Fatal(err)
	}
	parts[1] = base64.RawURLEncoding.EncodeToString(text)
	if by != nil {
		parts[2] = sign(t, by, parts[0]+"."+parts[1])
	}
	return strings.Join(parts, ".")
}

// message is one with a header, as a client says it.
func message(subject, header, payload string) string {
	header = "NATS/1.0\r\n" + header + "\r\n\r\n"
	return fmt.Sprintf("HPUB %s %d %d\r\n%s%s", subject, len(header), len(header)+len(payload), header, payload)
}
