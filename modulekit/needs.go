package modulekit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Keyed is a callback that is registered for one value of a key: in Synapse, a login type and its fields. The module is not
// asked about values that it did not register for. Of several with one key, the first counts.
type Keyed[Request, Reply proto.Message] struct {
	// Key is the value that the module is asked about, such as "m.login.password".
	Key string

	// Fields are the members of the request's keyed object that the module gets, such as "password". It sees no others, and one that
	// the object does not have is left out.
	Fields []string

	// Func answers. It may be called concurrently.
	Func func(context.Context, Request) (Reply, error)
}

// bindKeyed is bind for callbacks that are registered by key. Of several functions with the same key, the first counts.
func bindKeyed[Request, Reply proto.Message](cb subjects.Callback[Request, Reply], all []Keyed[Request, Reply]) handler {
	if len(all) == 0 {
		return handler{callback: cb.Declaration}
	}
	h := handler{callback: cb.Declaration, needs: &rosterv1.Needs{}}
	key, byKey := declared.Of(cb).Key, map[string]func(context.Context, Request) (Reply, error){}
	for _, k := range all {
		if byKey[k.Key] == nil {
			byKey[k.Key] = k.Func
			h.needs.Keys = append(h.needs.Keys, &rosterv1.Key{Value: k.Key, Fields: k.Fields})
		}
	}
	h.call = func(ctx context.Context, req proto.Message) (proto.Message, error) {
		f := byKey[req.ProtoReflect().Get(key).String()]
		if f == nil {
			return nil, nil
		}
		return f(ctx, req.(Request))
	}
	return h
}

// StateFilter says which room state a module needs. See [ModuleAPI.NeedState].
type StateFilter struct {
	// Type is an event type, such as "m.room.power_levels".
	Type string

	// StateKey is the state key; nil is any.
	StateKey *string

	all bool
}

// AllState selects every state event of a room. A large room has hundreds of thousands, of about a kilobyte each, and
// they travel with each question. The worker reads a question that is larger than a message in pieces, which counts
// against the callback's timeout. It is better to name the types that the module needs, or to fetch them when they are
// needed, with [ModuleAPI.GetRoomState]. See ADR 32.
func AllState() StateFilter { return StateFilter{all: true} }

// NeedState selects the state events that the module gets in the requests of a callback; without it, the module gets none. The
// module must register the callback, and the callback's request must have room state (a field state_events, as that of
// check_event_allowed); otherwise constructing the module fails. It may only be called while the module is constructed.
func (api *ModuleAPI) NeedState(cb subjects.AnyCallback, filters ...StateFilter) {
	state := &rosterv1.StateFilter{}
	for _, f := range filters {
		if f.all {
			state.All = true
			continue
		}
		state.Keys = append(state.Keys, &rosterv1.StateKey{Type: f.Type, StateKey: f.StateKey})
	}
	api.state[subjects.DeclarationOf(cb)] = state
}

// checkState reports calls of NeedState for callbacks that are not registered.
func (api *ModuleAPI) checkState() {
	for _, d := range slices.SortedFunc(maps.Keys(api.state), func(a, b *subjects.Declaration) int { return cmp.Compare(a.FullName(), b.FullName()) }) {
		switch {
		case declared.Of(d).State == nil:
			api.problem(fmt.Errorf("NeedState: requests of %s have no room state: ask for it with GetRoomState when it is needed", d.FullName()))
		case api.handlers[d].call == nil:
			api.problem(fmt.Errorf("NeedState: %s is not registered: register it, or select no state for it", d.FullName()))
		}
	}
}

// needsOf is what the module needs in requests of a callback; nil if it needs nothing.
func (api *ModuleAPI) needsOf(d *subjects.Declaration, h handler) *rosterv1.Needs {
	state := api.state[d]
	if state == nil {
		return h.needs
	}
	return &rosterv1.Needs{Keys: h.needs.GetKeys(), State: state}
}
