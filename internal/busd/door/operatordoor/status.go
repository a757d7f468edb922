package operatordoor

import (
	"context"
	"net/http"
	"time"

	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/roster"
)

// rosterLag is how long a status waits for asks to go by what it says. Beyond: NATS is slow or away, and the status is told
// all the same.
const rosterLag = 2 * time.Second

// followed returns when asks go by a roster at least as late as the one here, so that whoever reads that a module is ready
// may ask it at once. Before busd has begun nothing can be asked, and it does not wait.
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

// health says whether this process can do its work: it has NATS.
func (d *Door) health(w http.ResponseWriter, _ *http.Request) {
	if !d.Alive() {
		door.WriteJSON(w, http.StatusServiceUnavailable, map[string]any{"healthy": false, "error": "NATS is away"})
		return
	}
	door.WriteJSON(w, http.StatusOK, map[string]any{"healthy": true})
}

// ready says whether homeservers should ask here: not while busd starts, a module of the roster is missing, or busd
// drains.
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

// detail adds to the answer of ready what is for operators. Some of it is no reason not to ask here.
func (d *Door) detail(answer map[string]any, modules []roster.Status) {
	if answer["ready"] == false {
		answer["not_ready"] = append([]roster.Status{}, notReady(modules)...)
	}
	if some := troubled(modules); len(some) > 0 {
		answer["troubled"] = some // They do what they are for: such as one that refused a new config, and goes on with the old.
	}
	if d.Trouble != nil {
		if text := d.Trouble(); text != "" {
			answer["nats_error"] = text // Who asks is answered: what cannot be stored is a failure of the module that it is for.
		}
	}
	if others := d.Roster.Others(); len(others.Differing) > 0 {
		answer["other_lists"] = others.Differing // So it is while a change comes to one busd after the other.
	}
	if problem := d.ConfigStatus().Error; problem != "" {
		answer["config_error"] = problem // What ran before the change still does.
	}
}

// troubled are the modules with which something is wrong although they are ready.
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
