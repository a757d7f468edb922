package conformance_test

import (
	"slices"
	"strings"

	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// class is a difference from Synapse by design. What belongs to it is told from the shape of a record; what the bus does
// in its place is told from the performance.
type class struct {
	name   string
	reason string
	is     func(*vector) bool
	does   func(*performance) bool
}

// classes are looked through in order, for records that differ and for no others.
var classes = []class{
	{
		"no_such_callback",
		"on_legacy_* are hooks for one module's own URLs, undocumented in Synapse, and left out",
		func(r *vector) bool { return strings.HasPrefix(r.Callback, "on_legacy_") },
		func(p *performance) bool { return p.declaration == nil },
	},
	{
		"older_synapse",
		"where 1.42.0 let an event pass though check_event_allowed raised, we go by 1.163.2, in which sending it fails",
		func(r *vector) bool {
			return r.Synapse == "1.42.0" && r.Callback == "check_event_allowed" && r.anyCalled(func(s cue) bool {
				return r.outcomeOf(s).Kind == "raise" || !r.sayable(s)
			})
		},
		func(p *performance) bool {
			_, byError := p.got.(refusedWith)
			return (p.got == raisedError{} || byError) && p.by != ""
		},
	},
	{
		"conflicting_login_fields",
		"Synapse does not start when one module's field is named like the login type of another's, by a slip in its check; we have no such check",
		func(r *vector) bool { return r.Callback == "auth_checkers" && r.Result.At == "registration" },
		func(p *performance) bool { _, unstarts := p.got.(unstarted); return !unstarts },
	},
	{
		"equal_is_identical",
		`a string that equals NOT_SPAM and is not the same object is a refusal in Python; on the wire, "not spam" is no opinion`,
		func(r *vector) bool {
			return r.anyCalled(func(s cue) bool { return r.outcomeOf(s).Value == "NOT_SPAM" && r.sayable(s) })
		},
		func(p *performance) bool {
			return p.by == "" || p.outcomeOf(cue{p.by, p.Callback}) == nil || p.outcomeOf(cue{p.by, p.Callback}).Value != "NOT_SPAM"
		},
	},
	{
		"shared_argument",
		"a module that changes an argument in place changes it for the next one in Python, or fails where it cannot be changed; here each has its own copy",
		func(r *vector) bool {
			return r.Callback != "on_create_room" && r.anyCalled(func(s cue) bool { return r.outcomeOf(s).mutates() })
		},
		func(p *performance) bool {
			return p.only("saw") || p.Result.Error == "FrozenInstanceError" && p.by != p.last()
		},
	},
	{
		"own_login_fields",
		"all auth checkers of a login type get the fields that the last of them registered; here each gets its own and no other secrets",
		func(r *vector) bool { return r.Callback == "auth_checkers" && r.differingFields() },
		func(p *performance) bool { return p.only("saw") },
	},
	{
		"empty_user_id",
		"a module that authenticates a user without a name authenticates nobody here",
		func(r *vector) bool {
			first, _, _ := tuple(r.lastOutcome().Value)
			return (r.Callback == "auth_checkers" || r.Callback == "check_3pid_auth") && first == ""
		},
		func(p *performance) bool { return p.by != p.last() },
	},
	{
		"empty_text",
		"a refusal with an empty text has the homeserver's own words here",
		func(r *vector) bool { return r.Callback == "check_event_for_spam" && r.lastOutcome().Value == "" },
		func(p *performance) bool { return p.got == refusedWith{Errcode: "M_FORBIDDEN", Fields: "{}"} },
	},
	{
		"wrong_type",
		"a value that Synapse complains of, or that no field holds, is no reply here: the module has failed, and its policy applies",
		func(r *vector) bool { return r.wrong() != "" },
		func(p *performance) bool {
			return p.failedWith(p.wrong(), rosterv1.FailureKind_MALFORMED, rosterv1.FailureKind_PANIC)
		},
	},
	{
		"cancelled_call",
		"CancelledError out of a module cancels Synapse's own call; here only who asks cancels, and it is a failure like any other",
		func(r *vector) bool {
			return r.Result.Error == "CancelledError" && r.lastOutcome().Error == "CancelledError"
		},
		func(p *performance) bool {
			return p.failedWith(p.last(), rosterv1.FailureKind_ERROR, rosterv1.FailureKind_PANIC)
		},
	},
	{
		"federated_failure",
		"a module that fails over another server's event is skipped by default, since a wrong verdict there is for ever; in Synapse the event fails",
		func(r *vector) bool {
			sender, _ := object(object(r.Args["event"])["json"])["sender"].(string)
			return r.Callback == "check_event_for_spam" && !strings.HasSuffix(sender, ":"+ownServer) && r.lastOutcome().Kind == "raise"
		},
		func(p *performance) bool {
			return p.failedWith(p.last(), rosterv1.FailureKind_ERROR, rosterv1.FailureKind_PANIC)
		},
	},
}

// pythonClasses are those of modules that were written for Synapse, and run out of its process.
var pythonClasses = []class{
	{
		"refusal_by_raising",
		"Synapse passes a SynapseError out of user_may_send_state_event on to the client; here it is a refusal",
		func(r *vector) bool { return r.Callback == "user_may_send_state_event" && r.lastOutcome().Code != 0 },
		func(p *performance) bool {
			_, refused := p.got.(refusedWith)
			return refused && p.by == p.last()
		},
	},
	{
		"none_is_no_opinion",
		"None where Synapse wants a number, and fails later, is no opinion here: the homeserver's configuration holds",
		func(r *vector) bool {
			return r.anyCalled(func(s cue) bool {
				return r.outcomeOf(s).Kind == "return" && r.outcomeOf(s).Value == nil && !r.sayable(s)
			})
		},
		func(p *performance) bool { return p.by == "" },
	},
}

// classOf is the class that explains the differences; nil for none.
func classOf(p *performance) *class {
	candidates := slices.Concat(classes, p.stage.classes)
	if !p.known() {
		candidates = classes[:1]
	}
	i := slices.IndexFunc(candidates, func(c class) bool { return c.is(p.vector) && c.does(p) })
	if i < 0 {
		return nil
	}
	return &candidates[i]
}

// anyCalled reports whether it is so of any module that was called and of which the record says what it did.
func (r *vector) anyCalled(is func(cue) bool) bool {
	return slices.ContainsFunc(r.steps(), func(s cue) bool { return r.outcomeOf(s) != nil && is(s) })
}

// lastOutcome is what the last module did that was called.
func (r *vector) lastOutcome() *act {
	steps := r.steps()
	if len(steps) == 0 || r.outcomeOf(steps[len(steps)-1]) == nil {
		return &act{}
	}
	return r.outcomeOf(steps[len(steps)-1])
}

// wrong is the first module called whose value no reply says; empty for none.
func (r *vector) wrong() string {
	for _, s := range r.steps() {
		if !r.sayable(s) {
			return s.actor
		}
	}
	return ""
}

// differingFields reports whether modules registered a login type with different fields.
func (r *vector) differingFields() bool {
	last, _ := r.loginFields()
	for i := range r.Modules {
		for _, login := range r.logins(&r.Modules[i]) {
			if r.Modules[i].Registers && login.LoginType == r.Args["login_type"] && !slices.Equal(sortedSet(login.Fields), sortedSet(last)) {
				return true
			}
		}
	}
	return false
}
