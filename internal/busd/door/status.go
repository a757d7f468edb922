package door

import (
	"net/http"

	"github.com/modulebus/modulebus/internal/busd/registry"
)

func (d *HTTP) modules(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, ModuleList{d.Client.Roster().GetRevision(), d.ConfigStatus(), d.status()})
}

// health says whether this process can do its work: it has NATS.
func (d *HTTP) health(w http.ResponseWriter, _ *http.Request) {
	if !d.Alive() {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"healthy": false, "error": "NATS is away"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"healthy": true})
}

// ready says whether homeservers should ask here: not while busd starts, a module of the roster is missing, or busd
// drains.
func (d *HTTP) ready(w http.ResponseWriter, _ *http.Request) {
	missing := notReady(d.Registry.Modules())
	if d.Life.Draining() || !d.Life.Begun() || !d.Alive() || len(missing) > 0 {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "not_ready": append([]registry.Status{}, missing...)})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"ready": true})
}

func notReady(all []registry.Status) (missing []registry.Status) {
	for _, m := range all {
		if m.State != registry.Unlisted && !m.Well() {
			missing = append(missing, m)
		}
	}
	return missing
}
