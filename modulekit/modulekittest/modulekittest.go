// Package modulekittest runs a module against a scripted homeserver: everything but the network.
//
//	hs := modulekittest.Start(t, modulekit.Module[config]{New: newGate}, `{"deny": ["@evil:example.com"]}`)
//	answer, err := hs.SpamChecker.UserMayCreateRoom(t.Context(), &callbacksv1.UserMayCreateRoomRequest{UserId: "@evil:example.com"})
//
// The module's log goes to the test's. All methods may be called concurrently.
package modulekittest

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/subjects"
)

// Homeserver asks the module under test. Its fields are the categories of callbacks, with a method for each. They return
// nil when the module has no opinion, and an error when it failed: it returned one, panicked, or was given a context
// that ended.
type Homeserver struct {
	Categories

	// Web serves the module's web resources.
	Web http.Handler

	module *modulekit.Detached
}

// Start parses the config, a JSON object, constructs the module, and fails the test if either does.
func Start[Config any](tb testing.TB, m modulekit.Module[Config], config string) *Homeserver {
	tb.Helper()
	h, err := TryStart(tb, m, config)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// TryStart is Start for tests of what a module refuses: it returns the error, a [*modulekit.ConfigError] if the config
// was refused.
func TryStart[Config any](tb testing.TB, m modulekit.Module[Config], config string) (*Homeserver, error) {
	tb.Helper()
	log := zerolog.New(zerolog.NewTestWriter(tb))
	o := modulekit.Options{ServerName: "example.com", Module: "test", Log: &log}
	module, err := modulekit.Detach(m, json.RawMessage(config), o)
	if err != nil {
		return nil, err
	}
	h := &Homeserver{module: module, Web: module}
	h.Categories = categoriesOf(h)
	return h, nil
}

// Callbacks returns what the module registered.
func (h *Homeserver) Callbacks() []*subjects.Declaration { return h.module.Callbacks() }

func ask[Request, Reply proto.Message](
	ctx context.Context, h *Homeserver, cb subjects.Callback[Request, Reply], req Request,
) (Reply, error) {
	answer, err := h.module.Ask(ctx, cb, req)
	reply, _ := answer.(Reply)
	return reply, err
}
