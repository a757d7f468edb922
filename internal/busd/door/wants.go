package door

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const maxWait = 60 * time.Second // of GET wants

// wants lists the callbacks that any module wants, at once or when the roster has changed.
func (d *HTTP) wants(w http.ResponseWriter, r *http.Request) {
	d.compareNames(r)
	roster := d.Client.Roster()
	if text := r.URL.Query().Get("after"); text != "" {
		after, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			newProblem(http.StatusBadRequest, invalidParam, "after is not a revision").writeTo(w)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), maxWait)
		defer cancel()
		ctx, release := d.Life.untilDrain(ctx)
		defer release()
		roster, _ = d.Client.AwaitRoster(ctx, after) // Without a newer one, the one there is.
	}
	answer := map[string]any{"roster_revision": roster.GetRevision(), "server_name": d.ServerName, "callbacks": wanted(roster), "state": d.state(roster)}
	for name, keys := range keysOf(roster) {
		answer[name] = keys
	}
	writeJSON(w, http.StatusOK, answer)
}

// state tells which state events are needed in requests of which callbacks, by their full names.
func (d *HTTP) state(roster *rosterv1.Roster) map[string]json.RawMessage {
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

// keysOf tells what modules registered for of the fields that are keys, under the plural of a field's name: login_types
// has the fields of each login type.
func keysOf(roster *rosterv1.Roster) map[string]map[string][]string {
	all := map[string]map[string][]string{}
	for _, m := range roster.GetModules() {
		for _, i := range m.GetCallbacks() {
			d, ok := subjects.Find(i.GetCallback())
			if !ok || declared.Of(d).Key == nil {
				continue
			}
			name := string(declared.Of(d).Key.Name()) + "s"
			if all[name] == nil {
				all[name] = map[string][]string{}
			}
			for _, k := range i.GetNeeds().GetKeys() {
				all[name][k.GetValue()] = united(all[name][k.GetValue()], k.GetFields())
			}
		}
	}
	return all
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
	for _, m := range roster.GetModules() {
		for _, i := range m.GetCallbacks() {
			if !seen[i.GetCallback()] {
				seen[i.GetCallback()] = true
				category, name, _ := strings.Cut(i.GetCallback(), ".")
				all[category] = append(all[category], name)
			}
		}
	}
	return all
}
