package config

import (
	"cmp"
	"strings"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// Action is what follows when a module fails to answer, as the operator writes it.
type Action = callbacksv1.OnFailure

// The actions. The zero value leaves the choice to the callback's own default.
const (
	Unset  = callbacksv1.OnFailure_ON_FAILURE_UNSPECIFIED
	Skip   = callbacksv1.OnFailure_SKIP   // as if the module had no opinion
	Refuse = callbacksv1.OnFailure_REFUSE // as if the module had refused
	Fail   = callbacksv1.OnFailure_FAIL   // the ask is answered with an error
)

// actions are the words that can be written.
var actions = map[string]Action{word(Skip): Skip, word(Refuse): Refuse, word(Fail): Fail}

// word returns the action as it is written in busd.yaml, and "default" for [Unset].
func word(a Action) string {
	if a == Unset {
		return "default"
	}
	return strings.ToLower(a.String())
}

func unless(a, other Action) Action {
	if a == other {
		return Unset
	}
	return a
}

// Policy is what follows a failure, by the origin of what the module was asked about. The two differ only if the
// operator said so.
type Policy struct{ Local, Federated Action }

// String returns the policy as it is written in busd.yaml.
func (p Policy) String() string {
	if p.Local == p.Federated {
		return word(p.Local)
	}
	return "{local: " + word(p.Local) + ", federated: " + word(p.Federated) + "}"
}

// or fills in what p, which may be nil, leaves open.
func (p *Policy) or(other Policy) Policy {
	if p == nil {
		return other
	}
	return Policy{cmp.Or(p.Local, other.Local), cmp.Or(p.Federated, other.Federated)}
}
