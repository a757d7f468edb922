package bus_test

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busopts"
)

// recorded asks modules that reply so, and returns the spans that ended, by the module that they are about.
func recorded(t *testing.T, l *line, modules ...string) (ask sdk.ReadOnlySpan, of map[string]sdk.ReadOnlySpan, _ error) {
	t.Helper()
	kept := tracetest.NewSpanRecorder()
	tracing := sdk.NewTracerProvider(sdk.WithSpanProcessor(kept))
	c, err := bus.New(busopts.With(t.Context(), busopts.Client{Requester: l, Roster: rosterOf(mayCreate, modules...)}), nil,
		bus.Options{ServerName: "example.com", TracerProvider: tracing})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, homeserver := tracing.Tracer("homeserver").Start(t.Context(), "POST /createRoom")
	_, err = c.SpamChecker.UserMayCreateRoom(ctx, &question{UserId: "@secret:example.com"})
	of = map[string]sdk.ReadOnlySpan{}
	for _, s := range kept.Ended() {
		if module := said(s, "modulebus.module"); module != "" {
			of[module] = s
		} else {
			ask = s
		}
	}
	if ask == nil || ask.Parent().SpanID() != homeserver.SpanContext().SpanID() {
		t.Fatalf("the ask is not part of what the homeserver does: %v", ask)
	}
	return ask, of, err
}

func said(s sdk.ReadOnlySpan, name string) string {
	for _, a := range s.Attributes() {
		if string(a.Key) == name {
			return a.Value.String()
		}
	}
	return ""
}

func TestSpansTellWhatEachModuleSaid(t *testing.T) {
	t.Parallel()
	l := &line{replies: map[string]*nats.Msg{"silent": {}, "failing": failure(failed), "refusing": data(denied("A")), "behind": data(denied("B"))}}
	ask, of, err := recorded(t, l, "silent", "failing", "refusing", "behind")
	if err != nil {
		t.Fatal(err)
	}
	if got := said(ask, "modulebus.outcome") + " by " + said(ask, "modulebus.decided_by"); got != "refused by refusing" {
		t.Errorf("the ask was %s", got)
	}
	for module, want := range map[string]string{"silent": "silent", "failing": "failure", "refusing": "refusal", "behind": ""} {
		s := of[module]
		if s == nil || said(s, "modulebus.said") != want && module != "behind" || s.Parent().SpanID() != ask.SpanContext().SpanID() {
			t.Errorf("%s: %v", module, s)
			continue
		}
		if bad := s.Status().Code == codes.Error; bad != (module == "failing") || bad && said(s, "error.type") != "error" {
			t.Errorf("%s has status %v", module, s.Status())
		}
	}
}

func TestRequestsNameTheSpanOfTheirModule(t *testing.T) {
	t.Parallel()
	l := &line{replies: map[string]*nats.Msg{"a": {}, "b": {}}}
	_, of, err := recorded(t, l, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range l.sent {
		known := slices.ContainsFunc([]string{"a", "b"}, func(m string) bool {
			return r.Trace.Parent == "00-"+of[m].SpanContext().TraceID().String()+"-"+of[m].SpanContext().SpanID().String()+"-01"
		})
		if !known {
			t.Errorf("a request is part of %v", r.Trace)
		}
	}
}
