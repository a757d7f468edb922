package policyserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/modulebus/modulebus/internal/busd/policyserver/policyservertest"
)

func TestHeaderIsReadAsHTTPHasIt(t *testing.T) {
	t.Parallel()
	want := xMatrix{"a.example:8448", "b.example", "ed25519:1", "c2ln"}
	for _, header := range []string{
		`X-Matrix origin=a.example:8448,destination=b.example,key=ed25519:1,sig=c2ln`,
		`X-Matrix origin="a.example:8448",destination="b.example",key="ed25519:1",sig="c2ln"`,
		`x-matrix  ORIGIN = "a.example:8448" , key=ed25519:1,, unknown="a,b=\"c\"", sig=c2ln ,destination=b.example`,
		`X-Matrix sig="c2l\n",origin="a\.example:8448",key=ed25519:1,destination=b.example`,
	} {
		if got, err := parseXMatrix(header); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", header, got, err)
		}
	}
	for _, header := range []string{
		``, `X-Matrix`, `Bearer x`, `X-Matrix origin`, `X-Matrix origin=,key=k,sig=s`, `X-Matrix origin="a,key=k,sig=s`,
		`X-Matrix origin=a,origin=b,key=k,sig=s`, `X-Matrix origin="a"b,key=k,sig=s`, `X-Matrix origin=a b,key=k,sig=s`,
		`X-Matrix origin="http://a/",key=k,sig=s`, `X-Matrix ="a",key=k,sig=s,origin=a`,
	} {
		if got, err := parseXMatrix(header); err == nil {
			t.Errorf("%s: got %+v", header, got)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(`X-Matrix origin="a.example",key="ed25519:1",sig="c2ln",destination=b`)
	f.Add(`X-Matrix origin="a\"b",,=,x="`)
	f.Fuzz(func(t *testing.T, header string) {
		x, err := parseXMatrix(header)
		if err != nil {
			return
		}
		quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace
		again, err := parseXMatrix(`X-Matrix origin="` + quote(x.origin) + `",destination="` + quote(x.destination) + `",key="` + quote(x.key) + `",sig="` + quote(x.sig) + `"`)
		if err != nil || again != x {
			t.Errorf("%q: got %+v, and then %+v, %v", header, x, again, err)
		}
	})
}

// FuzzEvent wants that what is taken for an event is one whose hash is its content's, and that reading it again changes nothing.
func FuzzEvent(f *testing.F) {
	home := policyservertest.New(remote)
	for _, version := range []string{"1", "6", "11", "12"} {
		f.Add(message("hello").Hashed().SignedBy(home, version), version)
	}
	f.Add([]byte(`{"type":"m.room.create","state_key":"","content":{"room_version":"12"},"sender":"@a:b"}`), "12")
	f.Fuzz(func(t *testing.T, body []byte, version string) {
		_, sound := open(body)
		e, err := parse(body, version)
		if sound != nil || err != nil {
			return
		}
		again, err := parse(e.json, version)
		if err != nil || again.id != e.id || again.identity() != e.identity() || len(e.json) > maxEvent {
			t.Errorf("%s: got %+v, and then %+v, %v", body, e, again, err)
		}
		if bytes.Contains(e.json, []byte("third_party_invite")) {
			return // The library redacts it in another way than Synapse: see TestEventIsToBusdWhatItIsToSynapse.
		}
		if want := idByLibrary(t, body, version); e.id != want {
			t.Errorf("%s: it is %s, and to the library %s", body, e.id, want)
		}
		if got, want := e.sign(home.Key), signedByLibrary(t, e, home); got != want {
			t.Errorf("%s: signed %s, and the library %s", body, got, want)
		}
	})
}

// signedByLibrary is the signature that the library makes of the whole event.
func signedByLibrary(t *testing.T, e *event, home policyservertest.Homeserver) string {
	t.Helper()
	redacted, err := gomatrixserverlib.MustGetRoomVersion(e.version).RedactEventJSON(e.json)
	if err != nil {
		t.Fatal(err)
	}
	return signatureOf(t, home, redacted)
}

func signatureOf(t *testing.T, home policyservertest.Homeserver, object []byte) string {
	t.Helper()
	signed, err := gomatrixserverlib.SignJSON(home.Name, home.KeyID, home.Key, object)
	if err != nil {
		t.Fatalf("%s: the library does not sign it: %v", object, err)
	}
	var out struct {
		Signatures map[string]map[gomatrixserverlib.KeyID]string
	}
	if err := json.Unmarshal(signed, &out); err != nil {
		t.Fatal(err)
	}
	return out.Signatures[home.Name][home.KeyID]
}

// FuzzSignedRequest has requests authorized that the library signs.
func FuzzSignedRequest(f *testing.F) {
	home := policyservertest.New(remote)
	keys := checked(remote, home.Publishes(keysFor), nil, time.Now())
	f.Add([]byte(`{"b":[1,{"d":"\u00e4</\u2028","c":-0}], "a":1e3}`), "/_matrix/policy/v1/sign?a=\u00e4<\"")
	f.Add([]byte(`{"content":{"signatures":1},"signatures":{},"unsigned":2}`), "\x7f\u2028")
	f.Fuzz(func(t *testing.T, body []byte, uri string) {
		if !json.Valid(body) || readable(body) != nil || !utf8.Valid(body) {
			return
		}
		whole, err := json.Marshal(map[string]any{
			"method": "POST", "uri": uri, "origin": home.Name, "destination": own, "content": json.RawMessage(body),
		})
		if err != nil {
			t.Fatal(err)
		}
		x := xMatrix{origin: home.Name, destination: own, key: string(home.KeyID), sig: signatureOf(t, home, whole)}
		if err := x.authorizes(Request{Method: "POST", URI: uri, Body: body}, own, keys, time.Now()); err != nil {
			t.Errorf("%q, %s: what the library signs is taken for something else: %v", uri, body, err)
		}
	})
}

func TestDepthIsThatOfObjectsAndLists(t *testing.T) {
	t.Parallel()
	nested := func(n int) []byte {
		return []byte(strings.Repeat(`{"[{[":[`, n/2) + `"\"["` + strings.Repeat(`]}`, n/2))
	}
	deep := func(text []byte) bool { return errors.Is(readable(text), errDeep) }
	if deep(nested(maxDepth)) || !deep(nested(maxDepth+2)) || deep([]byte("["+strings.Repeat(`[],{},`, maxDepth)+"1]")) {
		t.Error("the limit is elsewhere")
	}
}

func TestKeysThatNeedEscapesAreNotReadable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		`{"a":"\"b\\","c":["\u0000"]}`:     nil,
		`{"a\"b":1}`:                       errEscaped,
		`{"a\u005c":1}`:                    errEscaped,
		`{"a\ud800":1}`:                    errEscaped,
		`{"\u00e9\u003c\/\ud83d\ude00":1}`: nil, // As itself in canonical JSON.
		`{"a":{"\n" : 1}}`:                 errEscaped,
		`{"a":"\"`:                         nil, // It is no JSON, which is seen later.
		`"\`:                               nil,
		`"\"":`:                            errEscaped,
	} {
		if got := readable([]byte(text)); !errors.Is(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add("ed25519 policy_server AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n")
	f.Add("ed25519 a_test AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if key, err := parseKey(text); err == nil && len(key.Public()) != 43 {
			t.Errorf("%q: got %s", text, key.Public())
		}
	})
}

func TestOpenKeyMakesOneKeyHoweverManyOpenIt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "policy.key")
	keys := make(chan string, 8)
	var opening sync.WaitGroup
	for range cap(keys) {
		opening.Go(func() {
			key, err := OpenKey(path)
			if err != nil {
				t.Error(err)
				keys <- ""
				return
			}
			keys <- key.Public()
		})
	}
	opening.Wait()
	close(keys)
	first := <-keys
	for k := range keys {
		if k != first || len(k) != 43 {
			t.Errorf("got %q and %q", first, k)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(text), "ed25519 policy_server ") || strings.Count(string(text), "\n") != 1 {
		t.Errorf("the file is not as Synapse writes one: %v", err)
	}
	if left, _ := filepath.Glob(path + ".*"); left != nil {
		t.Errorf("left %v", left)
	}
}

func TestOpenKeyRefusesWhatIsNoKeyOfAPolicyServer(t *testing.T) {
	t.Parallel()
	const seed = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for text, want := range map[string]string{
		"":                                     "no signing key",
		"ed25519 a_AbCd " + seed:               "not a policy server's",
		"ed25519 policy_server AAAA":           "32 bytes",
		"ed25519 policy_server hunter2!":       "32 bytes",
		"ed25519 policy_server " + seed + " x": "no signing key",
		"rsa policy_server " + seed:            "no signing key",
	} {
		path := filepath.Join(t.TempDir(), "policy.key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := OpenKey(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: got %v", text, err)
		}
		if now, _ := os.ReadFile(path); string(now) != text {
			t.Errorf("%q became %q", text, now)
		}
	}
}
