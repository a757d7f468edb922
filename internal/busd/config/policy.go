package config

import (
	"cmp"
	"strings"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// Action is what a module's failure to answer means.
type Action = callbacksv1.OnFailure

// The actions. The zero value leaves the choice to the callback's own default.
const (
	Unset  = callbacksv1.OnFailure_ON_FAILURE_UNSPECIFIED
	Skip   = callbacksv1.OnFailure_SKIP   // as if the module had no opinion
	Refuse = callbacksv1.OnFailure_REFUSE // as if the module had refused
	Fail   = callbacksv1.OnFailure_FAIL   // the ask is answered with an error
)

// actions are the words that can be written.
var actions = map[string]Action{showAction(Skip): Skip, showAction(Refuse): Refuse, showAction(Fail): Fail}

// showAction returns the action as it is written in busd.yaml, "" for [Unset].
func showAction(a Action) string {
	if a == Unset {
		return ""
	}
	return strings.ToLower(a.String())
}

func unless(a, other Action) Action {
	if a == other {
		return Unset
	}
	return a
}

// Policy is the action after a failure, by the origin of the request. The actions differ only if the operator said so.
// PolicyServer is for events that the policy server is asked about; if it is unset, Federated applies.
type Policy struct{ Local, Federated, PolicyServer Action }

// or fills in the actions that p, which may be nil, leaves unset.
func (p *Policy) or(other Policy) Policy {
	if p == nil {
		return other
	}
	return Policy{
		cmp.Or(p.Local, other.Local), cmp.Or(p.Federated, other.Federated), cmp.Or(p.PolicyServer, p.Federated, other.PolicyServer),
	}
}

// keepsShut reports whether a failure of the module stops the request.
func (p *Policy) keepsShut() bool {
	return p != nil && (p.Local > Skip || p.Federated > Skip || p.PolicyServer > Skip)
}

// differs reports whether the policy depends on the origin.
func (p *Policy) differs() bool {
	return p.Local != p.Federated || p.PolicyServer != Unset && p.PolicyServer != p.Federated
}
