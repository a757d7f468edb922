package bus_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// accidents are what can happen to a question that every module would refuse, on its way there or back.
var accidents = map[string]func(*exchange) []arrival{
	"nobody listens":    replies(gone),
	"it is lost":        nothing,
	"it cannot be sent": func(*exchange) []arrival { return unsendable },
	"it came back with others, and is lost then": func(x *exchange) []arrival {
		if x.nth > 0 {
			return nil
		}
		return []arrival{{0, natsrequest.Alone}}
	},
	"it is too large":      replies(wire.Unsent(nats.ErrMaxPayload)),
	"the connection ended": replies(wire.Unsent(nats.ErrConnectionClosed)),
	"a worker is busy":     replies(failure(busy)),
	"half an answer":       replies(&nats.Msg{Data: data(denied("A")).Data[:3]}),
	"garbage":              replies(&nats.Msg{Data: []byte("\xff")}),
	"no JSON":              replies(&nats.Msg{Header: nats.Header{"content-type": {"application/json"}}, Data: []byte("oh")}),
	"an error in lower case": replies(&nats.Msg{Header: nats.Header{
		strings.ToLower(wire.HeaderErrorCode): {"error"}, strings.ToLower(wire.HeaderError): {"oh"},
	}}),
	"an error without a code": replies(&nats.Msg{Header: nats.Header{wire.HeaderError: {"oh"}}}),
	"a code of tomorrow":      replies(&nats.Msg{Header: nats.Header{wire.HeaderErrorCode: {"teapot"}}}),
}

// The law of the gate: nothing is decided without a module that is known, or named by the operator, to want it, unless its
// policy says so; and no accident on the way is taken for no opinion. All modules here would refuse.
func TestGateNeverOpensByAccident(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		what, modules := map[string]func(*exchange) []arrival{}, []*rosterv1.Module{}
		policies := map[string]callbacksv1.OnFailure{}
		for i := range rapid.IntRange(1, 4).Draw(rt, "modules") {
			name := fmt.Sprint("m", i)
			accident := rapid.SampledFrom(slices.Sorted(maps.Keys(accidents))).Draw(rt, name)
			policies[name] = rapid.SampledFrom([]callbacksv1.OnFailure{skip, refuse, fail}).Draw(rt, "policy")
			what[name] = accidents[accident]
			interest := &rosterv1.Interest{TimeoutMs: 1000, OnFailure: policies[name], OnFailureFederated: policies[name]}
			switch rapid.IntRange(0, 3).Draw(rt, "known") {
			case 0:
				interest.Named = true
			case 1:
				interest.Unserved = "NATS refused its subscription"
			}
			modules = append(modules, module(mayCreate, name, interest, []string{"w0", "w1", "w2"}[:rapid.IntRange(0, 3).Draw(rt, "workers")]...))
		}
		synctest.Test(t, func(t *testing.T) {
			c, _ := simulated(t, func(x *exchange) []arrival { return what[x.module](x) }, modules...)
			got, _, err := ask(t.Context(), c)
			if err != nil || got.Answer.GetRefusal() != nil {
				if last := got.Failures[len(got.Failures)-1]; policies[last.Module] == skip {
					rt.Errorf("%v, %v: the policy of %s is to skip", got, err, last.Module)
				}
				return
			}
			if len(got.Failures) != len(modules) {
				rt.Errorf("let through with %d modules, of which failed %v", len(modules), got.Failures)
			}
			for _, f := range got.Failures {
				if policies[f.Module] != skip {
					rt.Errorf("let through though %s failed, whose policy is %v", f.Module, policies[f.Module])
				}
			}
		})
	})
}
