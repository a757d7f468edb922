// Package modulekittest runs a module against a scripted homeserver, without a network. The test asks the callbacks
// that the module registered, answers its calls of the Module API, and advances the time of its background calls.
//
//	hs := modulekittest.Start(t, modulekit.Module[config]{New: newGate}, `{"deny": ["@evil:example.com"]}`)
//	answer, err := hs.SpamChecker.UserMayCreateRoom(t.Context(), &callbacksv1.UserMayCreateRoomRequest{UserId: "@evil:example.com"})
//
// As on a bus, a question has the room state that the module selected with NeedState, and the members of a login that it registered
// for, whatever else the test passes. The module's store is in memory. Its log goes to the test's. All methods may be called concurrently.
package modulekittest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/subjects"
)

// Homeserver asks the module under test. Its fields are the categories of callbacks, with a method for each. They return
// nil when the module has no opinion, and an error when it failed, a [*modulekit.Failure]: it returned an error, panicked,
// or was given a context that ended.
type Homeserver struct {
	Categories

	// Web serves the module's web resources. As in busd, the longest path that fits counts.
	Web http.Handler

	module kitopts.Constructed
	host   *host
	clock  clock
}

// Script says how the scripted homeserver behaves. The zero Script implements no method of the Module API.
type Script struct {
	// ServerName is the homeserver's. Default: example.com.
	ServerName string

	// Module is the module's name. Default: test.
	Module string

	// API answers the module's calls.
	API ModuleAPI

	// NoStore makes opening the store fail with [modulekit.ErrNoStore].
	NoStore bool
}

// Start parses the config, a JSON object, and constructs the module. If either fails, the test fails at once. At most
// one script may be given; without one, the zero Script is used.
func Start[Config any](tb testing.TB, m modulekit.Module[Config], config string, script ...Script) *Homeserver {
	tb.Helper()
	h, err := TryStart(tb, m, config, script...)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// TryStart is [Start] for tests of what a module refuses: it returns the error, a [*modulekit.ConfigError] if the config
// was refused.
func TryStart[Config any](tb testing.TB, m modulekit.Module[Config], config string, script ...Script) (*Homeserver, error) {
	tb.Helper()
	log := zerolog.New(zerolog.NewTestWriter(tb))
	return construct(tb.Context(), m, config, &log, script)
}

// New is [TryStart] without a test, for examples. The module's log is dropped.
func New[Config any](m modulekit.Module[Config], config string, script ...Script) (*Homeserver, error) {
	return construct(context.Background(), m, config, nil, script)
}

func construct[Config any](
	ctx context.Context, m modulekit.Module[Config], config string, log *zerolog.Logger, script []Script,
) (*Homeserver, error) {
	var s Script
	if len(script) > 0 {
		s = script[0]
	}
	h := &Homeserver{host: newHost(s)}
	ctx = kitopts.With(ctx, kitopts.Module{
		Config: json.RawMessage(config), Host: h.host, Constructed: func(c kitopts.Constructed) { h.module = c },
	})
	err := modulekit.Run(ctx, nil, m, modulekit.Options{
		ServerName: cmp.Or(s.ServerName, "example.com"), Module: cmp.Or(s.Module, "test"), Log: log,
	})
	if err != nil {
		return nil, err
	}
	h.Web, h.Categories = router(h.module.Web), categoriesOf(h)
	h.clock.start(h.module.Loops)
	return h, nil
}

// Callbacks returns the callbacks that the module registered.
func (h *Homeserver) Callbacks() []*subjects.Declaration { return h.module.Callbacks }

// WithNewsID returns a context with which the module is told news that is delivered at least once: [modulekit.NewsID]
// returns the ID. To tell the module the same news again, use the same ID.
func WithNewsID(ctx context.Context, id string) context.Context { return kitopts.WithNews(ctx, id) }

// HandDecisions is [Homeserver.HandBatch] for a batch of records behind which none was lost.
func (h *Homeserver) HandDecisions(ctx context.Context, records ...decision.Record) error {
	return h.HandBatch(ctx, &decision.Batch{Decisions: records})
}

// HandBatch passes records to the module's function for [modulekit.ModuleAPI.ReadDecisions], and returns its error. It
// returns an error if the module reads no decisions.
func (h *Homeserver) HandBatch(ctx context.Context, b *decision.Batch) error {
	if h.module.Read == nil {
		return errors.New("modulekittest: the module reads no decisions")
	}
	return h.module.Read(ctx, b)
}

func ask[Request, Reply proto.Message](
	ctx context.Context, h *Homeserver, cb subjects.Callback[Request, Reply], req Request,
) (Reply, error) {
	answer, err := h.module.Ask(ctx, cb.Declaration, req)
	reply, _ := answer.(Reply)
	return reply, err
}
