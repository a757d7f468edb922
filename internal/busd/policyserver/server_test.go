package policyserver

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/modulebus/modulebus/internal/busd/policyserver/policyservertest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

func TestServerSignsWhatModulesLetPassInEachRoomVersion(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f := newFederation(t)
			e := message("hello <&>")
			switch version {
			case "1", "2":
				refs := []any{[]any{"$a:" + remote, map[string]any{"sha256": "AAAA"}}}
				e = e.With("event_id", "$1:"+remote).With("prev_events", refs).With("auth_events", refs)
			case "12":
				e = e.With("room_id", "!"+strings.Repeat("a", 43))
			}
			f.rooms[e["room_id"].(string)] = version
			body := e.With("unsigned", map[string]any{"age_ts": 1}).Hashed().SignedBy(f.home, version)
			a := f.sign(asks(f.home, body))
			if a.Status != 200 || len(read(t, a).all) != 1 || len(read(t, a).Signatures) != 1 {
				t.Fatalf("got %d %s", a.Status, a.Body)
			}
			f.verify(body, version, read(t, a).Signatures[KeyID])
			asked := f.asked[0]
			if want := idByLibrary(t, body, version); asked.GetEventId() != want {
				t.Errorf("asked about %s; want %s", asked.GetEventId(), want)
			}
			if asked.GetRoomVersion() != version || asked.GetRoomId() != e["room_id"] {
				t.Errorf("asked about %v", asked)
			}
			if bytes.Contains(asked.GetJson(), []byte("age_ts")) || !bytes.Contains(asked.GetJson(), []byte("hello <&>")) {
				t.Errorf("asked about %s", asked.GetJson())
			}
		})
	}
}

func idByLibrary(t *testing.T, body []byte, version string) string {
	t.Helper()
	v := gomatrixserverlib.MustGetRoomVersion(gomatrixserverlib.RoomVersion(version))
	pdu, err := v.NewEventFromUntrustedJSON(bytes.Clone(body))
	if err != nil {
		t.Fatal(err)
	}
	return pdu.EventID()
}

// verify is what a homeserver does with a signature: redact, merge, and check it against the key in the room's state.
func (f *federation) verify(body []byte, version, signature string) {
	f.t.Helper()
	v, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(version))
	if err != nil {
		f.t.Fatal(err)
	}
	redacted, err := v.RedactEventJSON(body)
	if err != nil {
		f.t.Fatal(err)
	}
	var e map[string]any
	_ = json.Unmarshal(redacted, &e)
	e["signatures"] = map[string]any{own: map[string]any{KeyID: signature}}
	signed, _ := json.Marshal(e)
	if err := gomatrixserverlib.VerifyJSON(own, KeyID, f.server.Key.private.Public().(ed25519.PublicKey), signed); err != nil {
		f.t.Error(err)
	}
}

func TestServerRefusesInOneWay(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		refusal *callbacksv1.Refusal
		want    string
	}{
		"a text": {&callbacksv1.Refusal{Errcode: "M_FORBIDDEN", Error: "no <spam>"}, `{"errcode":"M_FORBIDDEN","error":"no \u003cspam\u003e"}`},
		"an errcode of its own": {
			&callbacksv1.Refusal{Errcode: "ORG.EXAMPLE.SPAM", Error: "no", AdditionalFields: []byte(`{"score":7,"errcode":"X","error":"Y"}`)},
			`{"errcode":"M_FORBIDDEN","error":"no","org.modulebus.errcode":"ORG.EXAMPLE.SPAM","score":7}`,
		},
		"nothing": {&callbacksv1.Refusal{}, `{"errcode":"M_FORBIDDEN","error":"This event is not allowed in this room"}`},
		"fields that are none": {
			&callbacksv1.Refusal{Error: "no", AdditionalFields: []byte(`[1`)}, `{"errcode":"M_FORBIDDEN","error":"no"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFederation(t)
			f.refusal = tt.refusal
			a := f.sign(asks(f.home, message("spam").Hashed().SignedBy(f.home, "11")))
			if a.Status != 400 || string(a.Body) != tt.want {
				t.Errorf("got %d %s, want 400 %s", a.Status, a.Body, tt.want)
			}
		})
	}
}

func TestServerAsksOnceHoweverManyServersAsk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // A decision is kept for a minute, which a busy machine may need.
		f := newFederation(t)
		defer f.server.Close()
		body := message("hello").Hashed().SignedBy(f.home, "11")
		var asking sync.WaitGroup
		answers := make(chan string, 200)
		for i := range 100 {
			h := policyservertest.New(fmt.Sprintf("server%d.example", i))
			for range 2 { // A replay, too.
				asking.Go(func() { answers <- string(f.sign(asks(h, body)).Body) })
			}
		}
		asking.Wait()
		close(answers)
		first := <-answers
		for a := range answers {
			if a != first || !strings.Contains(a, KeyID) {
				t.Fatalf("got %s and %s", first, a)
			}
		}
		if f.asks() != 1 || f.looked.Load() != 1 {
			t.Errorf("modules were asked %d times, the homeserver %d times", f.asks(), f.looked.Load())
		}
		a := f.sign(asks(f.home, message("another").Hashed().SignedBy(f.home, "11")))
		if f.wants(a, 200, ""); f.asks() != 2 {
			t.Errorf("another event was not asked about: %d", f.asks())
		}
	})
}

func TestServerGivesModulesNoWorkForBadInput(t *testing.T) {
	t.Parallel()
	home, evil := policyservertest.New(remote), policyservertest.New("evil.example")
	good := message("hello")
	of := func(f policyservertest.Event) Request { return asks(home, f.Hashed().SignedBy(home, "11")) }
	raw := func(body string) Request { return asks(home, []byte(body)) }
	signed := string(good.Hashed().SignedBy(home, "11"))
	change := func(r Request, f func(*Request)) Request { f(&r); return r }
	header := func(r Request, f func(string) string) Request {
		r.Authorizations = []string{f(r.Authorizations[0])}
		return r
	}
	const refused, unauthorized = "M_FORBIDDEN", "M_UNAUTHORIZED"
	for name, tt := range map[string]struct {
		request Request
		status  int
		errcode string
	}{
		"no header":                   {change(of(good), func(r *Request) { r.Authorizations = nil }), 401, unauthorized},
		"two headers":                 {change(of(good), func(r *Request) { r.Authorizations = append(r.Authorizations, r.Authorizations[0]) }), 401, unauthorized},
		"a token":                     {change(of(good), func(r *Request) { r.Authorizations = []string{"Bearer secret"} }), 401, unauthorized},
		"another origin":              {header(of(good), func(h string) string { return strings.Replace(h, remote, "evil.example", 1) }), 401, unauthorized},
		"no origin":                   {header(of(good), func(h string) string { return strings.Replace(h, "origin", "from", 1) }), 401, unauthorized},
		"another key":                 {header(of(good), func(h string) string { return strings.Replace(h, "a_1", "a_2", 1) }), 401, unauthorized},
		"a key of no algorithm":       {header(of(good), func(h string) string { return strings.Replace(h, "ed25519:a_1", "a_1", 1) }), 401, unauthorized},
		"half a signature":            {header(of(good), func(h string) string { return strings.Replace(h, `sig="`, `sig="AA`, 1) }), 401, unauthorized},
		"no signature":                {header(of(good), func(h string) string { return strings.Replace(h, `sig="`, `sig="",x="`, 1) }), 401, unauthorized},
		"for another server":          {asksOf(home, "other.example", v1Path, []byte(signed)), 401, unauthorized},
		"for another path":            {change(of(good), func(r *Request) { r.URI = "/_matrix/federation/v1/send/1" }), 401, unauthorized},
		"another method":              {change(of(good), func(r *Request) { r.Method = "PUT" }), 401, unauthorized},
		"a changed body":              {change(of(good), func(r *Request) { r.Body = bytes.Replace(r.Body, []byte("hello"), []byte("hullo"), 1) }), 401, unauthorized},
		"a changed body with spaces":  {change(of(good), func(r *Request) { r.Body = bytes.Replace(r.Body, []byte(`"hello"`), []byte(` "hullo"`), 1) }), 401, unauthorized},
		"keys that cannot be fetched": {asks(policyservertest.New("unknown.example"), []byte(signed)), 401, unauthorized},

		"no JSON":              {raw(`hello`), 401, unauthorized}, // Nobody can sign it.
		"no object":            {raw(`[]`), 400, refused},
		"an empty object":      {raw(`{}`), 400, refused},
		"null":                 {raw(`null`), 400, refused},
		"a key twice":          {raw(strings.Replace(signed, `"depth"`, `"type":"m.room.message","depth"`, 1)), 400, refused},
		"a key misspelled":     {raw(strings.Replace(signed, `"depth"`, `"Sender":"@b:evil.example","depth"`, 1)), 400, refused},
		"a key in odd letters": {raw(strings.Replace(signed, `"depth"`, `"\u017fender":"@b:evil.example","depth"`, 1)), 400, refused},
		"no hashes":            {asks(home, good.SignedBy(home, "11")), 400, refused},
		"a wrong hash":         {asks(home, good.Hashed().With("content", map[string]any{"body": "other"}).SignedBy(home, "11")), 400, refused},
		"redacted":             {asks(home, good.Hashed().With("content", map[string]any{}).SignedBy(home, "11")), 400, refused},
		"not signed":           {asks(home, []byte(strings.Replace(signed, `"signatures"`, `"autographs"`, 1))), 400, refused},
		"signed by another":    {asks(home, good.Hashed().SignedBy(evil, "11")), 400, refused},
		"signed for another":   {asks(home, good.With("sender", "@alice:evil.example").Hashed().SignedBy(home, "11")), 400, refused},
		"signed with a key that is not the server's": {
			asks(home, good.Hashed().SignedBy(policyservertest.Homeserver{Name: remote, KeyID: "ed25519:a_1", Key: evil.Key}, "11")), 400, refused,
		},
		"signed when the key was no more valid": {of(good.With("origin_server_ts", time.Now().Add(48*time.Hour).UnixMilli())), 400, refused},
		"a sender whose keys cannot be fetched": {
			asks(home, good.With("sender", "@a:unknown.example").Hashed().SignedBy(policyservertest.New("unknown.example"), "11")), 400, refused,
		},
		"an unknown room":             {of(good.With("room_id", "!other:"+remote)), 404, "M_NOT_FOUND"},
		"a room of another's":         {of(good.With("room_id", "!theirs:"+remote)), 404, "M_NOT_FOUND"},
		"an unknown room version":     {of(good.With("room_id", "!future:"+remote)), 400, refused},
		"an unstable room version":    {of(good.With("room_id", "!unstable:"+remote)), 400, refused},
		"an event of a later version": {of(good.With("room_id", "!old:"+remote)), 400, refused},
		"a created room that nobody knows": {
			of(good.With("room_id", nil).With("type", "m.room.create").With("state_key", "").With("content", map[string]any{"room_version": "12"})), 404, "M_NOT_FOUND",
		},
		"a key with an escape":                 {asSigned(home, good.With("content", map[string]any{"body": "hello", `"`: 1}).Hashed().SignedBy(home, "11")), 400, refused},
		"a float":                              {of(good.With("content", map[string]any{"body": 1.5})), 400, refused},
		"a large number":                       {of(good.With("depth", json.Number("9007199254740993"))), 400, refused},
		"one byte more than an event may have": {of(sized(good, home, maxEvent+1)), 400, refused},
		"one byte more than is read":           {raw(`{"a":"` + strings.Repeat("a", MaxBody) + `"}`), 400, refused},
		"deep":                                 {raw(strings.Repeat(`{"a":`, maxDepth+1) + "1" + strings.Repeat("}", maxDepth+1)), 400, refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFederation(t)
			f.unknown["unknown.example"] = true
			for room, version := range map[string]string{"!future": "99", "!unstable": "org.matrix.msc4014", "!old": "1", "!theirs": "11"} {
				f.rooms[room+":"+remote] = version
			}
			f.state["!theirs:"+remote] = []policyservertest.Event{{"type": "m.room.policy", "content": map[string]any{"via": "other.example"}}}
			f.wants(f.sign(tt.request), tt.status, tt.errcode)
			if f.asks() > 0 {
				t.Errorf("modules were asked about %s", f.asked[0].GetJson())
			}
		})
	}
}

// TestServerReadsKeysThatEncodersEscape has an event from a server whose encoder writes < and é in keys as Go's and Python's do.
func TestServerReadsKeysThatEncodersEscape(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	body := message("hello").With("content", map[string]any{"body": "hello", "é<": 1}).Hashed().SignedBy(f.home, "11")
	escaped := strings.NewReplacer("é", `\u00e9`, "<", `\u003c`).Replace(string(body))
	if a := f.sign(asks(f.home, []byte(escaped))); a.Status != 200 {
		t.Errorf("%s is answered %d %s", escaped, a.Status, a.Body)
	}
}

// asSigned is a request whose header is signed as the specification says, without the library.
func asSigned(h policyservertest.Homeserver, body []byte) Request {
	var content any
	_ = json.Unmarshal(body, &content) // The test made it.
	text, _ := json.Marshal(map[string]any{"method": "POST", "uri": v1Path, "origin": h.Name, "destination": own, "content": content})
	sig := base64.RawStdEncoding.EncodeToString(ed25519.Sign(h.Key, text))
	return Request{Method: "POST", URI: v1Path, Authorizations: []string{fmt.Sprintf("X-Matrix origin=%q,key=%q,sig=%q", h.Name, h.KeyID, sig)}, Body: body}
}

// sized fills the event up to a size in bytes.
func sized(f policyservertest.Event, h policyservertest.Homeserver, size int) policyservertest.Event {
	with := func(n int) policyservertest.Event {
		return f.With("content", map[string]any{"body": strings.Repeat("x", n)})
	}
	return with(size - len(with(0).Hashed().SignedBy(h, "11")))
}

func TestServerTakesAsMuchAsAnEventMayHave(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	body := sized(message(""), f.home, maxEvent).Hashed().SignedBy(f.home, "11")
	if len(body) != maxEvent {
		t.Fatalf("the event has %d bytes", len(body))
	}
	f.wants(f.sign(asks(f.home, body)), 200, "")
}

// A field that is not there (nil), null, or of another type is refused, and no module is asked.
func TestServerWantsEachFieldAsItIs(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"6", "11", "12"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			wantsEachField(t, version)
		})
	}
}

func wantsEachField(t *testing.T, version string) {
	t.Helper()
	f := newFederation(t)
	room := "!" + strings.Repeat("a", 43) // Of version 12; the others have a server in it.
	if version != "12" {
		room += ":" + remote
	}
	f.rooms[room] = version
	for name := range message("").With("state_key", "x") {
		for _, value := range []any{nil, json.RawMessage("null"), 7, -7, 7.5, true, []any{7}, map[string]any{"a": 1}, "x"} {
			if name == "state_key" && (value == nil || value == "x") || name == "content" && fmt.Sprint(value) == "map[a:1]" ||
				name == "type" && value == "x" || (name == "depth" || name == "origin_server_ts") && value == 7 {
				continue // It is as it should be.
			}
			a := f.sign(asks(f.home, message("hello").With("room_id", room).With(name, value).Hashed().SignedBy(f.home, version)))
			if a.Status != 400 {
				t.Errorf("%s is %v: got %d %s", name, value, a.Status, a.Body)
			}
		}
	}
	if n := f.asks(); n > 0 {
		t.Errorf("modules were asked %d times", n)
	}
}

// TestServerReadsSignaturesOneByOne has signatures with padding, and some beside them that are none.
func TestServerReadsSignaturesOneByOne(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	e := message("hello").Hashed()
	var signed policyservertest.Event
	if err := json.Unmarshal(e.SignedBy(f.home, "11"), &signed); err != nil {
		t.Fatal(err)
	}
	signature, _ := signed["signatures"].(map[string]any)[remote].(map[string]any)[string(f.home.KeyID)].(string)
	for _, signatures := range []map[string]any{
		{remote: map[string]any{string(f.home.KeyID): signature + "=="}},
		{remote: map[string]any{string(f.home.KeyID): signature, "ed25519:x": "?", "rsa:1": 7}, "other.example": 7, "": nil},
	} {
		body, _ := json.Marshal(e.With("signatures", signatures))
		r := asks(f.home, body)
		f.wants(f.sign(r), 200, "")
		r.Authorizations[0] = strings.Replace(r.Authorizations[0], `",destination`, `==",destination`, 1)
		f.wants(f.sign(r), 200, "")
	}
}

func TestServerRefusesWithoutTheHomeserver(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	f.broken = true
	f.wants(f.sign(asks(f.home, message("hello").Hashed().SignedBy(f.home, "11"))), 400, "M_FORBIDDEN")
	f.mu.Lock()
	f.broken = false
	f.mu.Unlock()
	f.wants(f.sign(asks(f.home, message("hello").Hashed().SignedBy(f.home, "11"))), 200, "")
}

func TestServerSignsWhatNamesThePolicyServer(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	f.refusal = &callbacksv1.Refusal{Error: "no"}
	e := message("").With("type", "m.room.policy").With("state_key", "").With("content", map[string]any{"via": "other.example"})
	f.wants(f.sign(asks(f.home, e.Hashed().SignedBy(f.home, "11"))), 200, "")
	f.wants(f.sign(asks(f.home, e.With("state_key", "x").Hashed().SignedBy(f.home, "11"))), 400, "M_FORBIDDEN")
}

// TestServerTakesAnInviteByMailFromAnyServer has invites that follow from one of an e-mail address: a server may send them for a user of
// another one.
func TestServerTakesAnInviteByMailFromAnyServer(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	invite := func(content map[string]any) policyservertest.Event {
		return message("").With("type", "m.room.member").With("state_key", "@b:other.example").With("sender", "@c:third.example").With("content", content).Hashed()
	}
	byMail := invite(map[string]any{"membership": "invite", "third_party_invite": map[string]any{"display_name": "b"}})
	f.wants(f.sign(asks(f.home, byMail.SignedBy(f.home, "10"))), 400, "M_FORBIDDEN") // The room has version 11.
	f.rooms[inRoom] = "10"
	f.server.rooms.forget(inRoom)
	f.wants(f.sign(asks(f.home, byMail.SignedBy(f.home, "10"))), 200, "")
	f.wants(f.sign(asks(f.home, invite(map[string]any{"membership": "invite"}).SignedBy(f.home, "10"))), 400, "M_FORBIDDEN")
	f.wants(f.sign(asks(f.home, byMail.SignedBy(f.home, "nobody's"))), 400, "M_FORBIDDEN")
}

// TestServerAsksForAKeyOfTheTimeFromRoomVersion5On has an event of a time when its key is no more valid.
func TestServerAsksForAKeyOfTheTimeFromRoomVersion5On(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	for version, want := range map[string]int{"3": 200, "4": 200, "5": 400, "11": 400} {
		room := "!" + version + ":" + remote
		f.rooms[room] = version
		e := message("later").With("room_id", room).With("origin_server_ts", time.Now().Add(48*time.Hour).UnixMilli())
		if a := f.sign(asks(f.home, e.Hashed().SignedBy(f.home, version))); a.Status != want {
			t.Errorf("version %s: %d %s", version, a.Status, a.Body)
		}
	}
}

func TestServerFailsOnlyWhereAModuleDoes(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	body := message("hello").Hashed().SignedBy(f.home, "11")
	f.failure = fmt.Errorf("%w: gate is absent", ErrFailed)
	f.says(asks(f.home, body), 500, `{"errcode":"M_UNKNOWN","error":"The policy server cannot decide at the moment"}`)
	f.failure = errors.New("context deadline exceeded")
	f.says(asks(f.home, body), 400, `{"errcode":"M_FORBIDDEN","error":"The policy server cannot decide at the moment"}`)
	f.failure = nil
	f.wants(f.sign(asks(f.home, body)), 200, "") // Neither was remembered.
}

// says wants an answer that other servers may read: without modules, and without Go's words.
func (f *federation) says(r Request, status int, body string) {
	f.t.Helper()
	if a := f.sign(r); a.Status != status || string(a.Body) != body {
		f.t.Errorf("answered %d %s; want %d %s", a.Status, a.Body, status, body)
	}
}

func TestServerTellsNobodyTheWordsOfTheLibrary(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	body := message("hello").With("prev_events", []any{7}).Hashed().SignedBy(f.home, "11")
	f.says(asks(f.home, body), 400, `{"errcode":"M_FORBIDDEN","error":"the event is not one of its room version"}`)
}

func TestServerDoesNotSignWithTheHomeserversKey(t *testing.T) {
	t.Parallel()
	f := newFederation(t)
	f.server.Key.private = policyservertest.New(own).Key
	if _, err := f.server.keys.get(t.Context(), own); err != nil {
		t.Fatal(err)
	}
	f.wants(f.sign(asks(f.home, message("hello").Hashed().SignedBy(f.home, "11"))), 400, "M_FORBIDDEN")
}

// Times are those of the documentation: nothing makes a homeserver wait longer than five seconds.
func TestServerAnswersInTime(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		hang    func(*federation)
		status  int
		errcode string
		most    time.Duration
	}{
		"a server that does not answer": {func(f *federation) { f.hangs[remote] = true }, 401, "M_UNAUTHORIZED", verifyTime},
		"modules that do not answer":    {func(f *federation) { f.wait = make(chan struct{}) }, 500, "M_UNKNOWN", verifyTime + askTime + answerTime},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newPromptFederation(t)
				defer f.server.Close()
				tt.hang(f)
				start := time.Now()
				f.wants(f.sign(asks(f.home, message("hello").Hashed().SignedBy(f.home, "11"))), tt.status, tt.errcode)
				if took := time.Since(start); took > tt.most || took > 5*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}
