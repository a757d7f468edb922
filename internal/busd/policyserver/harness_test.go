package policyserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/policyserver/policyservertest"
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

// message is one of alice's, in a room of ours.
func message(text string) policyservertest.Event {
	return policyservertest.Message(sender, inRoom, text)
}

// asks is a request of a homeserver's about an event.
func asks(h policyservertest.Homeserver, body []byte) Request { return asksOf(h, own, v1Path, body) }

func asksOf(h policyservertest.Homeserver, destination, path string, body []byte) Request {
	return Request{Method: "POST", URI: path, Authorizations: []string{h.Authorization("POST", path, destination, body)}, Body: body}
}

// federation is what is around a policy server.
type federation struct {
	t       *testing.T
	server  *Server
	home    policyservertest.Homeserver
	mu      sync.Mutex
	valid   time.Duration
	unknown map[string]bool                     // servers whose keys cannot be fetched
	hangs   map[string]bool                     // servers that do not answer
	rooms   map[string]string                   // versions
	state   map[string][]policyservertest.Event // beside m.room.create
	broken  bool                                // the Module API is
	refusal *callbacksv1.Refusal
	failure error
	wait    chan struct{} // for which modules wait, unless it is nil
	asked   []*callbacksv1.Event
	fetched atomic.Int64
	looked  atomic.Int64
}

// newFederation has a policy server that waits as long as a busy machine needs.
func newFederation(t *testing.T) *federation {
	t.Helper()
	f := newPromptFederation(t)
	f.server.verifyTime, f.server.waitTime = time.Hour, time.Hour
	return f
}

// newPromptFederation has a policy server that waits no longer than it does outside of tests.
func newPromptFederation(t *testing.T) *federation {
	t.Helper()
	f := &federation{
		t: t, home: policyservertest.New(remote), valid: 24 * time.Hour, unknown: map[string]bool{}, hangs: map[string]bool{},
		rooms: map[string]string{inRoom: "11"}, state: map[string][]policyservertest.Event{},
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
	return policyservertest.New(server).Publishes(valid), nil
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
	create := policyservertest.Event{"type": "m.room.create", "content": map[string]any{"room_version": version}}
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
