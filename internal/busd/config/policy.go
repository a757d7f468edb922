package config

// Action is what follows when a module fails to answer.
type Action uint8

// The actions. The zero value leaves the choice to the callback's own default.
const (
	Unset  Action = iota
	Skip          // as if the module had abstained
	Refuse        // as if the module had refused
	Fail          // the ask is answered with an error
)

var actions = [...]string{Unset: "default", Skip: "skip", Refuse: "refuse", Fail: "fail"}

// String returns the action as it is written in busd.yaml, and "default" for [Unset].
func (a Action) String() string {
	if int(a) < len(actions) {
		return actions[a]
	}
	return "unknown"
}

func (a Action) or(other Action) Action {
	if a == Unset {
		return other
	}
	return a
}

func (a Action) unless(other Action) Action {
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
		return p.Local.String()
	}
	return "{local: " + p.Local.String() + ", federated: " + p.Federated.String() + "}"
}

// or fills in what p, which may be nil, leaves open.
func (p *Policy) or(other Policy) Policy {
	if p == nil {
		return other
	}
	return Policy{p.Local.or(other.Local), p.Federated.or(other.Federated)}
}
