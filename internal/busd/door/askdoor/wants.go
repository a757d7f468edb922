package askdoor

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// pollTime is how long GET wants waits for a change, unless the caller says how long. Common proxies cut a request
	// that takes longer than 30 s. Beyond: answered with what is known already.
	pollTime = 25 * time.Second

	// maxPollTime is how long GET wants waits at most, whatever the caller says. Beyond: answered with what is known already.
	maxPollTime = time.Minute
)

// wants lists the callbacks that any module wants, at once or when the roster has changed.
func (d *Door) wants(w http.ResponseWriter, r *http.Request) {
	d.compareNames(r)
	roster := d.Client.Roster()
	if text := r.URL.Query().Get("after"); text != "" {
		after, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			door.NewProblem(http.StatusBadRequest, matrix.InvalidParam, "after is not a revision").WriteTo(w)
			return
		}
		ctx, release, p := d.Life.Wait(r, pollTime, maxPollTime)
		if p != nil {
			p.WriteTo(w)
			return
		}
		defer release()
		roster, _ = d.Client.AwaitRoster(ctx, after) // If there is no newer roster in time, the present one.
	}
	answer := map[string]any{"roster_revision": roster.GetRevision(), "server_name": d.ServerName, "callbacks": wanted(roster), "state": d.state(roster)}
	for name, keys := range keysOf(roster) {
		answer[name] = keys
	}
	door.WriteJSON(w, http.StatusOK, answer)
}

// state tells which state events are needed in requests of which callbacks, by their full names.
func (d *Door) state(roster *rosterv1.Roster) map[string]json.RawMessage {
	all := map[string]json.RawMessage{}
	for category, names := range wanted(roster) {
		for _, name := range names {
			callback, ok := subjects.Find(category + "." + name)
			if !ok || d.Client.StateFilter(callback) == nil {
				continue
			}
			if filter, err := wire.ToJSON(d.Client.StateFilter(callback)); err == nil {
				all[callback.FullName()] = filter
			}
		}
	}
	return all
}

// keysOf returns the keys that modules registered for, by the plural of the key field's name: login_types has the
// fields of each login type.
func keysOf(roster *rosterv1.Roster) map[string]map[string][]string {
	all := map[string]map[string][]string{}
	for _, i := range rosterwire.Interests(roster) {
		d, ok := subjects.Find(i.GetCallback())
		if !ok || declared.Of(d).Key == nil {
			continue
		}
		name := string(declared.Of(d).Key.Name()) + "s"
		if all[name] == nil {
			all[name] = map[string][]string{}
		}
		for _, k := range keysIn(i, declared.Of(d)) {
			all[name][k.GetValue()] = united(all[name][k.GetValue()], k.GetFields())
		}
	}
	return all
}

// keysIn returns the keys that a module registered for. A module that is known by name only, and has not said which
// keys it wants, counts for every key; homeservers are told the usual one.
func keysIn(i *rosterv1.Interest, d *declared.View) []*rosterv1.Key {
	if usual := usualOf(d.Key); i.GetNamed() && usual != "" {
		return []*rosterv1.Key{{Value: usual, Fields: []string{usualOf(d.Keyed)}}}
	}
	return i.GetNeeds().GetKeys()
}

func usualOf(f protoreflect.FieldDescriptor) string {
	return proto.GetExtension(f.Options(), callbacksv1.E_Usual).(string)
}

func united(a, b []string) []string {
	for _, s := range b {
		if !slices.Contains(a, s) {
			a = append(a, s)
		}
	}
	return a
}

// wanted lists callbacks by category.
func wanted(roster *rosterv1.Roster) map[string][]string {
	all, seen := map[string][]string{}, map[string]bool{}
	for _, i := range rosterwire.Interests(roster) {
		if !seen[i.GetCallback()] {
			seen[i.GetCallback()] = true
			category, name, _ := strings.Cut(i.GetCallback(), ".")
			all[category] = append(all[category], name)
		}
	}
	return all
}
