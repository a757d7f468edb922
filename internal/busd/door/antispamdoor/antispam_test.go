package antispamdoor_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/doortest"
)

const antispamPath = "/_modulebus/antispam/"

// saw is the response in one line.
func saw(rsp *http.Response, body []byte) string { return fmt.Sprintf("%d %s", rsp.StatusCode, body) }

func TestAntispamAnswersOnThePathsOfEachServerOfTheProtocol(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	for _, base := range []string{
		antispamPath, "/_modulebus/antispam//", "/_meowlnir/antispam/!room:example.com/", "/_meowlnir/antispam/%21r%2Fx%3Aexample.com/",
		"/_meowlnir/antispam/auto/", "/api/1/spam_check/",
	} {
		for name, want := range map[string]string{"good": `200 {}`, "evil": `403 {"errcode":"M_FORBIDDEN","error":"no"}`} {
			rsp, body := d.Do("POST", base+"user_may_create_room", doortest.User(name))
			if got := saw(rsp, body); got != want || rsp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s about %s: %s, %s; want %s", base, name, got, rsp.Header.Get("Content-Type"), want)
			}
		}
	}
}

// TestAntispamLetsEveryCallbackOfThePackageGoOn sends what the package sends. Nobody registered most of it.
func TestAntispamLetsEveryCallbackOfThePackageGoOn(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	data, err := os.ReadFile("../../../antispam/testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Requests []struct{ Name, Callback, Body string }
	}
	if err := json.Unmarshal(data, &recorded); err != nil {
		t.Fatal(err)
	}
	for _, r := range recorded.Requests {
		if rsp, body := d.Do("POST", antispamPath+r.Callback, []byte(r.Body)); saw(rsp, body) != `200 {}` {
			t.Errorf("%s: %s", r.Name, saw(rsp, body))
		}
	}
}

func TestAntispamAnswersBadRequests(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	for name, tt := range map[string]struct {
		method, callback, body string
		status                 int
		code                   string
	}{
		"not JSON":          {"POST", "user_may_create_room", `{"user_id":`, 400, "M_NOT_JSON"},
		"no UTF-8":          {"POST", "user_may_create_room", "{\"user_id\":\"@a\xff:example.com\"}", 400, "M_NOT_JSON"},
		"an event of none":  {"POST", "check_event_for_spam", "{\"event\":{\"event_id\":\"$e\",\"sender\":\"@a:b\",\"type\":\"m\",\"content\":{\"body\":\"\xff\"}}}", 400, "M_NOT_JSON"},
		"a ping of none":    {"POST", "ping", "{\"id\":\"\xff\"}", 400, "M_NOT_JSON"},
		"nothing":           {"POST", "user_may_create_room", ``, 400, "M_NOT_JSON"},
		"a missing field":   {"POST", "user_may_create_room", `{}`, 400, "M_BAD_JSON"},
		"another type":      {"POST", "user_may_create_room", `{"user_id":[]}`, 400, "M_BAD_JSON"},
		"a large body":      {"POST", "user_may_create_room", `{"user_id":"` + strings.Repeat("x", 1<<20) + `"}`, 413, "M_TOO_LARGE"},
		"another method":    {"GET", "user_may_create_room", ``, 405, "M_UNRECOGNIZED"},
		"a ping of no JSON": {"POST", "ping", `x`, 400, "M_NOT_JSON"},
		"a ping of nothing": {"POST", "ping", `null`, 400, "M_NOT_JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rsp, body := d.Do(tt.method, antispamPath+tt.callback, []byte(tt.body))
			doortest.Wants(t, rsp, body, tt.status, tt.code)
		})
	}
}

func TestAntispamLetsCallbacksGoOnThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	for _, name := range []string{"user_may_dance", "check_registration_for_spam", "spam_checker.user_may_create_room"} {
		if rsp, body := d.Do("POST", antispamPath+name, doortest.User("evil")); saw(rsp, body) != `200 {}` {
			t.Errorf("%s: %s", name, saw(rsp, body))
		}
	}
}

func TestAntispamPingEchoesAnyID(t *testing.T) {
	t.Parallel()
	d := doortest.New(t).Serve(config.HTTP{}) // Also of a busd that has not begun.
	for in, want := range map[string]string{
		`{"id":"aBcDeFgH"}`: `200 {"id":"aBcDeFgH","status":"ok"}`, `{"id":{"a":[1]}}`: `200 {"id":{"a":[1]},"status":"ok"}`,
		`{}`: `200 {"id":null,"status":"ok"}`, `{"ID":"x"}`: `200 {"id":null,"status":"ok"}`,
	} {
		if rsp, body := d.Do("POST", antispamPath+"ping", []byte(in)); saw(rsp, body) != want {
			t.Errorf("%s: %s, want %s", in, saw(rsp, body), want)
		}
	}
}

// TestAntispamFailureIsWhatTheOperatorSays has a module fail under each policy.
func TestAntispamFailureIsWhatTheOperatorSays(t *testing.T) {
	t.Parallel()
	const undecided = `{"errcode":"M_UNKNOWN","error":"The spam checker cannot decide at the moment. Try again later."}`
	for policy, want := range map[string]string{"skip": `200 {}`, "refuse": `403 {"errcode":"M_FORBIDDEN"`, "fail": `502 ` + undecided} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			d := doortest.BegunWith(t, "{module: gate, timeout: 1m, on_failure: "+policy+"}")
			if rsp, body := d.Do("POST", antispamPath+"user_may_create_room", doortest.User("error")); !strings.HasPrefix(saw(rsp, body), want) {
				t.Errorf("%s, want %s", saw(rsp, body), want)
			}
		})
	}
}

func TestAntispamWantsTheToken(t *testing.T) {
	t.Parallel()
	const token = "long and random"
	for name, file := range map[string]string{"as it is": token, "as SHA-256": "sha256:" + sha256Of(token), "in capitals": "sha256:" + strings.ToUpper(sha256Of(token))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := doortest.New(t).Serve(config.HTTP{TokenFile: doortest.TokenFile(t, file)})
			d.Life.Begin()
			rsp, body := d.Do("POST", antispamPath+"user_may_create_room", doortest.User("good"))
			doortest.Wants(t, rsp, body, http.StatusUnauthorized, "M_MISSING_TOKEN")
			rsp, body = d.Do("POST", antispamPath+"user_may_create_room", doortest.User("good"), "Authorization", "Bearer "+sha256Of(token))
			doortest.Wants(t, rsp, body, http.StatusUnauthorized, "M_UNKNOWN_TOKEN")
			if rsp, body = d.Do("POST", antispamPath+"user_may_create_room", doortest.User("good"), "Authorization", "Bearer "+token); rsp.StatusCode != http.StatusOK {
				t.Errorf("with the token: %s", saw(rsp, body))
			}
		})
	}
}

// TestAntispamLetsEventsOfOthersGoOnWhereNobodyCanBeAsked is about a busd that ends before it has begun: a refused event of
// another server is lost for ever, and a local user can try again.
func TestAntispamLetsEventsOfOthersGoOnWhereNobodyCanBeAsked(t *testing.T) {
	t.Parallel()
	d := doortest.New(t).Serve(config.HTTP{})
	d.Life.Drain()
	for _, tt := range []struct {
		callback, sender string
		status           int
	}{
		{"check_event_for_spam", "@x:elsewhere.example", 200},
		{"check_event_for_spam", "@x:example.com", 503},
		{"federated_user_may_invite", "@x:elsewhere.example", 503},
	} {
		question := fmt.Appendf(nil, `{"event":{"event_id":"$e","type":"m.room.message","sender":%q}}`, tt.sender)
		if rsp, body := d.Do("POST", antispamPath+tt.callback, question); rsp.StatusCode != tt.status {
			t.Errorf("%s of %s: %s, want %d", tt.callback, tt.sender, saw(rsp, body), tt.status)
		}
	}
}

// TestAntispamGoesOnAnsweringWhileBusdDrains: to a client of the protocol, being turned away is a refusal.
func TestAntispamGoesOnAnsweringWhileBusdDrains(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	d.Life.Drain()
	rsp, body := d.Do("POST", antispamPath+"user_may_create_room", doortest.User("evil"))
	if saw(rsp, body) != `403 {"errcode":"M_FORBIDDEN","error":"no"}` || !rsp.Close {
		t.Errorf("%s, closing: %v", saw(rsp, body), rsp.Close)
	}
}

// TestAntispamAnswersAClientThatClosedItsHalf asks as a client does that has nothing more to say.
func TestAntispamAnswersAClientThatClosedItsHalf(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := doortest.User("slow")
	fmt.Fprintf(conn, "POST %suser_may_create_room HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", antispamPath, len(body), body)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-d.Asked
	d.Release()()
	buffer := make([]byte, 64)
	if n, err := conn.Read(buffer); err != nil || !strings.HasPrefix(string(buffer[:n]), "HTTP/1.1 200") {
		t.Errorf("answered %q, %v", buffer[:n], err)
	}
}

func sha256Of(s string) string {
	digest := sha256.Sum256([]byte(s))
	return hex.EncodeToString(digest[:])
}
