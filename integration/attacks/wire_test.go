package attacks_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/subjects"
)

// comesInByNoOtherWay has somebody change what it was given, and show what is no user's.
func comesInByNoOtherWay(t *testing.T, d *testbed.Daemon, p participant) {
	t.Helper()
	is := identityOf(t, d.Credentials(p.user))
	own, err := is.key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := account.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	wide := func(_, may map[string]any) { may["pub"], may["sub"] = map[string]any{}, map[string]any{} }
	issued := func(by string) func(claims, may map[string]any) {
		return func(claims, may map[string]any) { wide(claims, may); claims["iss"] = by }
	}
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"none"}`)) + is.token[strings.IndexByte(is.token, '.'):strings.LastIndexByte(is.token, '.')+1]
	admin := identityOf(t, d.Credentials("--admin"))
	for name, says := range map[string]map[string]any{
		"with more permissions":                {"jwt": altered(t, is.token, nil, wide)},
		"with more permissions that it signed": {"jwt": altered(t, is.token, is.key, wide)},
		"as its own issuer":                    {"jwt": altered(t, is.token, is.key, issued(own))},
		"of another account":                   {"jwt": altered(t, is.token, account, issued(elsewhere))},
		"of another account, for this one":     {"jwt": altered(t, is.token, account, func(c, may map[string]any) { may["issuer_account"] = c["iss"]; c["iss"] = elsewhere })},
		"for whoever brings it":                {"sig": "", "jwt": altered(t, is.token, is.key, func(_, may map[string]any) { may["bearer_token"] = true })},
		"that is newer":                        {"jwt": altered(t, is.token, is.key, func(c, _ map[string]any) { c["iat"] = 9_999_999_999 })},
		"of busd":                              {"jwt": altered(t, is.token, is.key, func(c, _ map[string]any) { c["name"] = "busd" })},
		"without an algorithm":                 {"jwt": unsigned},
		"twice":                                {"jwt": is.token + is.token},
		"of an account":                        {"jwt": altered(t, is.token, account, func(c, may map[string]any) { c["iss"], c["sub"], may["type"] = elsewhere, elsewhere, "account" })},
		"of another user":                      {"jwt": admin.token},
		"that is none":                         {"jwt": "x.y.z"},
		"without a signature":                  {"sig": ""},
		"with a signature of before":           {"sig": sign(t, is.key, "nonce")},
		"by its key alone":                     {"jwt": "", "nkey": own},
		"by name and password":                 {"jwt": "", "sig": "", "user": "busd", "pass": "busd"},
		"by a password":                        {"jwt": "", "sig": "", "auth_token": "busd"},
		"in the account of the system":         {"account": "$SYS"},
		"in an account of its own":             {"account_new": true, "account": "mine"},
		"with what a client has no business to say of ends": {"jwt": "", "sig": "", "remote_account": "$SYS", "is_hub": true, "cluster": "test", "gateway": "test"},
	} {
		r := dial(t, d)
		if answers, open := r.say(is.login(r, says)); open {
			t.Errorf("it comes in with a token %s: %q", name, answers)
		}
	}
}

// speaksAsNoServer has the attacker say what servers say to one another, and what no client says.
func speaksAsNoServer(t *testing.T, d *testbed.Daemon, p participant) {
	t.Helper()
	is := identityOf(t, d.Credentials(p.user))
	target, r := bus.Leave(victim), is.enter(t, d)
	heard := listen(t, d.Connect(), []string{target, bus.RosterChanged(), bus.Cancel(victim)})
	for _, text := range []string{
		"+OK", "-ERR 'Authorization Violation'", `INFO {"server_id":"x","cluster":"test","connect_urls":["203.0.113.1:4222"]}`,
		"MSG " + target + " 1 1\r\nx", "HMSG " + target + " 1 12 13\r\nNATS/1.0\r\n\r\nx", "RMSG $G " + target + " 1\r\nx", "LMSG " + target + " 1\r\nx",
		"RS+ $G " + target, "LS+ " + target, "RS- $G " + target, "A+ $SYS", "A- $SYS",
		"PUB " + bus.Join("*") + " 1\r\nx", "PUB modulebus.> 1\r\nx", "PUB " + target + "\t1\r\nx", "pub " + target + " " + p.own + " 1\r\nx",
		"PUB " + p.own + " " + target + " -1\r\nx", "PUB " + p.own + " 99999999999999999999\r\nx", "PUB " + p.own + " 1048577\r\n",
		"PUB " + strings.Repeat("x.", 4096) + "x 1\r\nx", "SUB > " + subjects.Group(attacker) + " 1", "SUB " + bus.Changed(attacker) + " a b c 1",
		"HPUB " + p.own + " 99 1\r\nx", "HPUB " + target + " 12 13\r\nNATS/1.0\r\n\r\nx", "UNSUB 99", "\x00\x01\x02", "GET / HTTP/1.1\r\nUpgrade: websocket\r\n",
		"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04mqtt", // What opens MQTT.
		message(p.own, "X: 1\r\n\r\nPUB "+target+" 1\r\nx", ""),
	} {
		if _, open := r.say(text); !open { // Whatever it is answered, others hear nothing.
			r = is.enter(t, d)
		}
	}
	unheard(t, d, heard)
}

// changesNothingByLoggingInAgain has the attacker say a second time who it is, on a connection that has come in.
func changesNothingByLoggingInAgain(t *testing.T, d *testbed.Daemon, p participant) {
	t.Helper()
	is := identityOf(t, d.Credentials(p.user))
	heard := listen(t, d.Connect(), []string{bus.Leave(victim), bus.RosterChanged()})
	for name, says := range map[string]map[string]any{
		"with nothing":      {"jwt": "", "sig": ""},
		"as somebody else":  {"jwt": identityOf(t, d.Credentials("--admin")).token},
		"by a name":         {"name": "busd"},
		"without a line":    {"echo": false, "verbose": true},
		"with a wider may":  {"permissions": map[string]any{"publish": ">"}},
		"in another tongue": {"protocol": 99},
	} {
		r := is.enter(t, d)
		_, _ = r.say(is.login(r, says)) // It may stay or go.
		answers, open := r.say("PUB " + bus.Leave(victim) + " 1\r\nx\r\nSUB " + bus.Inbox(victim, "*") + ".> 1\r\nPUB " + bus.RosterChanged() + " 1\r\nx")
		if open && strings.Count(strings.Join(answers, "\n"), "Permissions Violation") != 3 {
			t.Errorf("%s: %q", name, answers)
		}
		_ = r.Close()
	}
	unheard(t, d, heard)
}

// saysNothingByHeaders has the attacker send, on subjects of its own, headers by which NATS tells others of a message.
func saysNothingByHeaders(t *testing.T, d *testbed.Daemon, p participant) {
	t.Helper()
	is := identityOf(t, d.Credentials(p.user))
	targets, from := []string{bus.Leave(victim), bus.RosterChanged(), bus.Changed(victim), "$JS.API.STREAM.DELETE.records"}, []string{p.own}
	if p.user == attacker {
		if _, err := d.ConnectModule(attacker).RequestWithContext(testbed.Bounded(t), bus.Store(attacker), nil); err != nil {
			t.Fatal(err)
		}
		targets, from = append(targets, bus.Callback(create, victim)), append(from, "$KV."+bus.StoreBucket(attacker)+".k")
	}
	heard := listen(t, d.Connect(), targets)
	r := is.enter(t, d)
	for _, target := range targets {
		for _, header := range []string{
			"Nats-Trace-Dest: " + target, "Nats-Trace-Dest: " + target + "\r\nNats-Trace-Only: true", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nNats-Trace-Dest: " + target,
			"Nats-Schedule: @at 2020-01-01T00:00:00Z\r\nNats-Schedule-Target: " + target, "Nats-Schedule: @every 1s\r\nNats-Schedule-Target: " + target + "\r\nNats-Schedule-TTL: 5m",
			"Nats-Stream: x\r\nNats-Subject: " + target, "Reply-To: " + target, "Nats-Service-Error: x\r\n Reply-To: " + target, "X: \rPUB " + target + " 0",
		} {
			for _, subject := range from {
				if _, open := r.say(message(subject, header, "x")); !open { // Whatever it is answered, others hear nothing.
					r = is.enter(t, d)
				}
			}
		}
	}
	unheard(t, d, heard)
}

// writesNoLineOfTheLog has clients call themselves what would be a line of busd's log.
func writesNoLineOfTheLog(t *testing.T, d *testbed.Daemon) {
	t.Helper()
	const line = `{"level":"fatal","message":"forged"}`
	name := attacker + "/w\r\n" + line + "\n\x1b[2J\x00"
	if nc, err := nats.Connect(d.NATS, nats.Name(name)); err == nil {
		nc.Close()
		t.Error("a client without credentials came in")
	}
	d.Stderr.Line(t, "a client without credentials", "forged") // As a part of a line that says who it is.
	nc, err := nats.Connect(d.NATS, nats.UserCredentials(d.Credentials(attacker)), nats.Name(victim+"/w\n"+line), nats.NoReconnect())
	if err == nil { // Or it was disconnected before it knew that it had come in.
		defer nc.Close()
		testbed.Eventually(t, "who shows another's name is disconnected", nc.IsClosed)
	}
	d.Stderr.Line(t, "another module's name")
	for l := range strings.Lines(string(d.Stderr.Bytes())) {
		if strings.HasPrefix(l, line) || strings.ContainsAny(l, "\r\x1b\x00") {
			t.Errorf("busd logs %q", l)
		}
	}
}

// unheard wants nothing to have been said where others listen. All that was sent before is looked at.
func unheard(t *testing.T, d *testbed.Daemon, heard []*nats.Subscription) {
	t.Helper()
	if _, err := d.ConnectModule(attacker).RequestWithContext(testbed.Bounded(t), bus.Entry(attacker), nil); err != nil {
		t.Fatal(err)
	}
	for _, sub := range heard {
		n, _, err := sub.Pending()
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			m, err := sub.NextMsgWithContext(testbed.Bounded(t))
			if err == nil && len(m.Data) > 0 && !strings.Contains(m.Subject, "roster.changed") {
				t.Errorf("%s was told %q", sub.Subject, m.Data)
			}
		}
	}
}
