package operatordoor

import (
	"context"
	"net/http"
	"time"

	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/roster"
)

// rosterLag is how long a status waits until asks use the roster that it shows. Beyond: NATS is slow or away, and the
// status is returned all the same.
const rosterLag = 2 * time.Second

// followed waits until asks use a roster at least as late as busd's own, so that a client that reads that a module is
// ready can ask it at once. Before busd has begun nothing can be asked, so it does not wait.
func (d *Door) followed(ctx context.Context) {
	if !d.Life.Begun() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, rosterLag)
	defer cancel()
	_, _ = d.Client.AwaitRoster(ctx, d.Roster.Snapshot().GetRevision()-1)
}

func (d *Door) modules(w http.ResponseWriter, r *http.Request) {
	status := d.Status()
	d.followed(r.Context())
	door.WriteJSON(w, http.StatusOK, ModuleList{d.Client.Roster().GetRevision(), d.ConfigStatus(), status})
}

// health says whether this process can work, which it can if it has NATS.
func (d *Door) health(w http.ResponseWriter, _ *http.Request) {
	if !d.Alive() {
		door.WriteJSON(w, http.StatusServiceUnavailable, map[string]any{"healthy": false, "error": "NATS is away"})
		return
	}
	door.WriteJSON(w, http.StatusOK, map[string]any{"healthy": true})
}

// ready says whether homeservers should ask this busd. They should not while it starts, drains, or misses a module of
// the roster.
func (d *Door) ready(w http.ResponseWriter, r *http.Request) {
	modules := d.Roster.Modules()
	missing := notReady(modules)
	d.followed(r.Context())
	status, answer := http.StatusOK, map[string]any{"ready": true}
	if d.Life.Draining() || !d.Life.Begun() || !d.Alive() || len(missing) > 0 {
		status, answer["ready"] = http.StatusServiceUnavailable, false
	}
	if d.Guard.DeniesDetails(r) == nil {
		d.detail(answer, modules)
	}
	door.WriteJSON(w, status, answer)
}

// detail adds details for operators to the answer of ready. Some of them are no reason not to ask this busd.
func (d *Door) detail(answer map[string]any, modules []roster.Status) {
	if answer["ready"] == false {
		answer["not_ready"] = append([]roster.Status{}, notReady(modules)...)
	}
	if some := troubled(modules); len(some) > 0 {
		answer["troubled"] = some // They work all the same, such as one that refused a new config and goes on with the old one.
	}
	if d.Trouble != nil {
		if text := d.Trouble(); text != "" {
			answer["nats_error"] = text // Asks are still answered: news that cannot be stored is a failure of its module.
		}
	}
	if others := d.Roster.Others(); len(others.Differing) > 0 {
		answer["other_lists"] = others.Differing // They differ while a change reaches one busd after the other.
	}
	if problem := d.ConfigStatus().Error; problem != "" {
		answer["config_error"] = problem // The configuration before the change still runs.
	}
}

// troubled returns the modules that are ready although something is wrong with them.
func troubled(all []roster.Status) (some []roster.Status) {
	for _, m := range all {
		if m.Well() && m.Troubled() {
			some = append(some, m)
		}
	}
	return some
}

func notReady(all []roster.Status) (missing []roster.Status) {
	for _, m := range all {
		if m.State != roster.Unlisted && !m.Well() {
			missing = append(missing, m)
		}
	}
	return missing
}
