package policyserver

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	own    = "policy.example"
	remote = "remote.example"
	sender = "@alice:" + remote
	inRoom = "!room:" + remote
	v1Path = "/_matrix/policy/v1/sign"
)

// homeserver is one of the federation: a name and a key.
type homeserver struct {
	name string
	id   gomatrixserverlib.KeyID
	key  ed25519.PrivateKey
}

func newHomeserver(name string) homeserver {
	return homeserver{name, "ed25519:a_1", ed25519.NewKeyFromSeed([]byte(fmt.Sprintf("%-32.32s", name)))}
}

// publishes are its keys as it publishes them.
func (h homeserver) publishes(valid time.Duration) (keys gomatrixserverlib.ServerKeys) {
	body, _ := json.Marshal(map[string]any{
		"server_name": h.name, "valid_until_ts": time.Now().Add(valid).UnixMilli(), "old_verify_keys": map[string]any{},
		"verify_keys": map[string]any{string(h.id): map[string]any{"key": spec.Base64Bytes(h.key.Public().(ed25519.PublicKey))}},
	})
	signed, err := gomatrixserverlib.SignJSON(h.name, h.id, h.key, body)
	if err == nil {
		err = json.Unmarshal(signed, &keys)
	}
	if err != nil {
		panic(err)
	}
	return keys
}

// asks is a request of the homeserver's about an event.
func (h homeserver) asks(body []byte) Request {
	return h.asksOf(own, v1Path, body)
}

func (h homeserver) asksOf(destination, path string, body []byte) Request {
	x := xMatrix{origin: h.name, destination: destination, key: string(h.id)}
	message, err := x.signed("POST", path, destination, body)
	if err != nil {
		message = []byte(`{}`)
	}
	signed, err := gomatrixserverlib.SignJSON(h.name, h.id, h.key, message)
	var out struct {
		Signatures map[string]map[string]string
	}
	if err == nil {
		err = json.Unmarshal(signed, &out)
	}
	if err != nil {
		panic(err)
	}
	header := fmt.Sprintf("X-Matrix origin=%q,key=%q,sig=%q,destination=%q", h.name, h.id, out.Signatures[h.name][string(h.id)], destination)
	return Request{Method: "POST", URI: path, Authorizations: []string{header}, Body: body}
}

// fields are those of an event, to be changed before it is signed.
type fields map[string]any

func message(text string) fields {
	return fields{
		"type": "m.room.message", "sender": sender, "room_id": inRoom, "content": map[string]any{"body": text, "msgtype": "m.text"},
		"origin_server_ts": time.Now().UnixMilli(), "depth": 7, "prev_events": []any{"$prev"}, "auth_events": []any{"$auth"},
	}
}

func (f fields) with(name string, value any) fields {
	out := fields{}
	maps.Copy(out, f)
	if out[name] = value; value == nil {
		delete(out, name)
	}
	return out
}

// hashed is the event with its content's hash.
func (f fields) hashed() fields {
	raw, err := json.Marshal(f.with("unsigned", nil))
	if err == nil {
		raw, err = gomatrixserverlib.CanonicalJSON(raw)
	}
	if err != nil {
		panic(err)
	}
	return f.with("hashes", map[string]any{"sha256": sha256Of(raw)})
}

// signedBy is the event as its sender's server sends it.
func (f fields) signedBy(h homeserver, version string) []byte {
	raw, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	v, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(version))
	if err != nil {
		return raw
	}
	redacted, err := v.RedactEventJSON(raw)
	if err != nil {
		return raw
	}
	redacted, err = gomatrixserverlib.SignJSON(h.name, h.id, h.key, redacted)
	if err != nil {
		return raw
	}
	var out struct{ Signatures json.RawMessage }
	_ = json.Unmarshal(redacted, &out)
	raw, _ = json.Marshal(f.with("signatures", out.Signatures))
	return raw
}

// federation is what is around a policy server.
type federation struct {
	t       *testing.T
	server  *Server
	home    homeserver
	mu      sync.Mutex
	valid   time.Duration
	unknown map[string]bool     // servers whose keys cannot be fetched
	hangs   map[string]bool     // servers that do not answer
	rooms   map[string]string   // versions
	state   map[string][]fields // beside m.room.create
	broken  bool                // the Module API is
	refusal *callbacksv1.Refusal
	failure error
	wait    chan struct{} // for which modules wait, unless it is nil
	asked   []*callbacksv1.Event
	fetched atomic.Int64
	looked  atomic.Int64
}

func newFederation(t *testing.T) *federation {
	t.Helper()
	f := &federation{
		t: t, home: newHomeserver(remote), valid: 24 * time.Hour, unknown: map[string]bool{}, hangs: map[string]bool{},
		rooms: map[string]string{inRoom: "11"}, state: map[string][]fields{},
	}
	key, err := OpenKey(filepath.Join(t.TempDir(), "policy.key"))
	if err != nil {
		t.Fatal(err)
	}
	f.server = New(Options{ServerName: own, Key: key, Fetcher: f, Call: f.call, Ask: f.ask, Metrics: prometheus.NewRegistry(), Log: zerolog.Nop()})
	t.Cleanup(f.server.Close)
	return f
}

// Fetch implements [Fetcher].
func (f *federation) Fetch(ctx context.Context, server string) (keys gomatrixserverlib.ServerKeys, err error) {
	f.mu.Lock()
	unknown, hangs, valid := f.unknown[server], f.hangs[server], f.valid
	f.mu.Unlock()
	if server != own {
		f.fetched.Add(1)
	}
	switch {
	case hangs:
		<-ctx.Done()
		return keys, ctx.Err()
	case unknown:
		return keys, errors.New("no such server")
	}
	return newHomeserver(server).publishes(valid), nil
}

func (f *federation) call(_ context.Context, m *subjects.Method, req proto.Message) (proto.Message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked.Add(1)
	r, ok := req.(*moduleapiv1.GetRoomStateRequest)
	switch {
	case !ok:
		f.t.Errorf("called %s", m.Name)
		return nil, errors.New("no")
	case f.broken:
		return nil, &bus.MatrixError{Status: 502}
	}
	out := &moduleapiv1.GetRoomStateResponse{}
	version, known := f.rooms[r.GetRoomId()]
	if !known {
		return out, nil
	}
	create := fields{"type": "m.room.create", "content": map[string]any{"room_version": version}}
	for _, e := range append(f.state[r.GetRoomId()], create) {
		raw, _ := json.Marshal(e)
		out.State = append(out.State, &callbacksv1.StateEvent{Type: e["type"].(string), Event: &callbacksv1.Event{Json: raw}})
	}
	return out, nil
}

func (f *federation) ask(ctx context.Context, e *callbacksv1.Event) (*callbacksv1.Refusal, error) {
	f.mu.Lock()
	f.asked = append(f.asked, e)
	wait, refusal, failure := f.wait, f.refusal, f.failure
	f.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: late", ErrFailed)
		}
	}
	return refusal, failure
}

func (f *federation) asks() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

func (f *federation) sign(r Request) Answer {
	f.t.Helper()
	return f.server.Sign(f.t.Context(), r)
}

// said is an answer as it is read.
type said struct {
	Errcode, Error string
	Signatures     map[string]string `json:"policy.example"`
	all            map[string]any
}

func read(t *testing.T, a Answer) (s said) {
	t.Helper()
	if err := errors.Join(json.Unmarshal(a.Body, &s), json.Unmarshal(a.Body, &s.all)); err != nil {
		t.Fatalf("%d %s: %v", a.Status, a.Body, err)
	}
	return s
}

func (f *federation) wants(a Answer, status int, errcode string) {
	f.t.Helper()
	if s := read(f.t, a); a.Status != status || s.Errcode != errcode || status != 200 && s.Error == "" {
		f.t.Errorf("got %d %s, want %d %s", a.Status, a.Body, status, errcode)
	}
}
