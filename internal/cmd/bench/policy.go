package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/door/policydoor"
	"github.com/modulebus/modulebus/internal/busd/policyserver"
	"github.com/modulebus/modulebus/internal/busd/policyserver/policyservertest"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/subjects"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"
)

const (
	policyName = "example.com"
	signPath   = "/_matrix/policy/v1/sign"

	// manyEvents are more than a policy server remembers: when one is asked about again, it is forgotten.
	manyEvents = 12_000
)

// signing is a request that a policy server checks, has a module asked about, and signs. The peer asks the module about the
// same events, and does the cryptography on the same bytes, and nothing else.
func signing(callers int) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		h, err := newHomeserver(s, policyName, "module")
		if err != nil {
			return ours, peer, err
		}
		pass := func(context.Context, *callbacksv1.CheckEventForSpamRequest) (*callbacksv1.CheckEventForSpamResponse, error) {
			return nil, nil
		}
		err = h.module("module", func(api *modulekit.ModuleAPI) {
			api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{CheckEventForSpam: pass})
		})
		if err != nil {
			return ours, peer, err
		}
		remote := policyservertest.New("remote.example")
		p, err := policyServer(s, h, remote)
		if err != nil {
			return ours, peer, err
		}
		requests := signed(remote)
		next := func(turn *atomic.Int64) policyserver.Request { return requests[turn.Add(1)%manyEvents] }
		var a, b atomic.Int64
		ours = side{callers, func(ctx context.Context) error {
			if answer := p.Sign(ctx, next(&a)); answer.Status != http.StatusOK {
				return fmt.Errorf("answered %d %s", answer.Status, answer.Body)
			}
			return nil
		}}
		return ours, side{callers, bareSigning(h, remote, func() []byte { return next(&b).Body })}, nil
	}
}

// bareSigning is the ask, two signatures verified, and one made.
func bareSigning(h *homeserver, remote policyservertest.Homeserver, body func() []byte) func(context.Context) error {
	public := remote.Key.Public().(ed25519.PublicKey)
	return func(ctx context.Context) error {
		text := body()
		d, err := h.client.SpamChecker.CheckEventForSpam(ctx, &callbacksv1.CheckEventForSpamRequest{
			Event: &callbacksv1.Event{EventId: "$event", RoomVersion: "11", Json: text, RoomId: "!room:remote.example"},
		})
		if err != nil || d.Answer.GetRefusal() != nil {
			return fmt.Errorf("got %v, %w", d, err)
		}
		signature := ed25519.Sign(remote.Key, text)
		for range 2 {
			if !ed25519.Verify(public, text, signature) {
				return errors.New("it is not signed")
			}
		}
		return nil
	}
}

// federation is all that a policy server asks of others.
type federation struct{ remote policyservertest.Homeserver }

// Fetch implements [policyserver.Fetcher].
func (f federation) Fetch(context.Context, string) (gomatrixserverlib.ServerKeys, error) {
	return f.remote.Publishes(time.Hour), nil
}

// call is the Module API of a homeserver that has the one room.
func (f federation) call(context.Context, *subjects.Method, proto.Message) (proto.Message, error) {
	return &moduleapiv1.GetRoomStateResponse{State: []*callbacksv1.StateEvent{{
		Type: "m.room.create", Event: &callbacksv1.Event{Json: []byte(`{"content":{"room_version":"11"}}`)},
	}}}, nil
}

func policyServer(s *stage, h *homeserver, remote policyservertest.Homeserver) (*policyserver.Server, error) {
	folder, err := os.MkdirTemp("", "modulebus-bench-")
	if err != nil {
		return nil, err
	}
	s.onClose(func() error { return os.RemoveAll(folder) })
	key, err := policyserver.OpenKey(filepath.Join(folder, "policy.key"))
	if err != nil {
		return nil, err
	}
	life := door.NewLife()
	life.Begin()
	f := federation{remote}
	p := policyserver.New(policyserver.Options{
		ServerName: policyName, Key: key, Fetcher: f, Call: f.call, Ask: policydoor.Ask(door.NewAnswerer(h.client, zerolog.Nop()), life),
		Metrics: prometheus.NewRegistry(), Log: zerolog.Nop(),
	})
	s.onClose(func() error { p.Close(); return nil })
	return p, nil
}

// signed are requests about different events.
func signed(remote policyservertest.Homeserver) []policyserver.Request {
	all := make([]policyserver.Request, manyEvents)
	for i := range all {
		body := policyservertest.Message("@alice:remote.example", "!room:remote.example", fmt.Sprint("hello ", i)).Hashed().SignedBy(remote, "11")
		all[i] = policyserver.Request{
			Method: http.MethodPost, URI: signPath, Body: body,
			Authorizations: []string{remote.Authorization(http.MethodPost, signPath, policyName, body)},
		}
	}
	return all
}
