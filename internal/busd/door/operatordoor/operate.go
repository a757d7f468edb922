package operatordoor

import (
	"context"
	"net/http"
	"time"

	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/busd/supervise"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
)

// Processes are the processes of the modules that busd runs.
type Processes interface {
	// Processes returns the processes of a module; none if busd does not run it.
	Processes(module string) []supervise.Process

	// Restart replaces a module's processes, one after the other, without a moment in which there is none. It blocks
	// until all are replaced, one was not, or ctx ends.
	Restart(ctx context.Context, module string) error
}

// ConfigStatus says whether what runs is what the configuration file says.
type ConfigStatus struct {
	TakenAt    time.Time `json:"taken_at"`              // when the present configuration was applied
	Error      string    `json:"error,omitempty"`       // what is wrong with the file that was read last
	RefusedAt  time.Time `json:"refused_at,omitzero"`   // when that was
	RetryAt    time.Time `json:"retry_at,omitzero"`     // when it is tried again by itself; absent if the file must be changed
	RestartFor []string  `json:"restart_for,omitempty"` // changed keys that are read at the start only
	Changed    *Changed  `json:"changed,omitempty"`     // what the last applied reload changed; absent before the first
}

// Changed are the modules that a reload changed.
type Changed struct {
	Added     []string `json:"added,omitempty"`
	Removed   []string `json:"removed,omitempty"`
	Restarted []string `json:"restarted,omitempty"` // because they are run differently
	Changed   []string `json:"changed,omitempty"`   // their entries changed, and they run on
	Reordered bool     `json:"reordered,omitempty"` // the modules in both lists are asked in another order
}

// ModuleList is the response of GET /_modulebus/v1/modules.
type ModuleList struct {
	RosterRevision uint64         `json:"roster_revision"`
	Config         ConfigStatus   `json:"config"`
	Modules        []ModuleStatus `json:"modules"`
}

// ModuleStatus is a module as the roster and the supervisor know it.
type ModuleStatus struct {
	roster.Status
	Processes []Process `json:"processes,omitempty"`
}

// Process returns the process of a worker; nil if busd does not run it.
func (m *ModuleStatus) Process(worker string) *Process {
	for i := range m.Processes {
		if m.Processes[i].Worker == worker {
			return &m.Processes[i]
		}
	}
	return nil
}

// Process is one place for a process of a module that busd runs.
type Process struct {
	Worker      string    `json:"worker"`               // its name in worker_list, once it has joined
	PID         int       `json:"pid,omitempty"`        // absent when none runs
	StartedAt   time.Time `json:"started_at,omitzero"`  // absent when none runs
	Restarts    int       `json:"restarts"`             // processes that ended here without being asked to
	LastError   string    `json:"last_error,omitempty"` // why the last of those ended
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

// Status returns the state of all modules.
func (d *Door) Status() []ModuleStatus {
	all := []ModuleStatus{}
	for _, s := range d.Roster.Modules() {
		m := ModuleStatus{Status: s}
		for _, p := range d.Processes.Processes(s.Name) {
			m.Processes = append(m.Processes, processOf(p))
		}
		all = append(all, m)
	}
	return all
}

func processOf(p supervise.Process) Process {
	out := Process{Worker: p.ID, StartedAt: p.Started, Restarts: p.Ends}
	if !p.Started.IsZero() {
		out.PID = p.PID
	}
	if p.Last != nil {
		out.LastError, out.LastErrorAt = wire.OneLine(p.Last.Reason()), p.Last.At
	}
	return out
}

// maxRestartTime is how long workers may be replaced, whatever the caller says. Beyond: those after the last stay as they are.
const maxRestartTime = time.Hour

// restart answers when all workers of the module are replaced, when one was not, or when the caller's time is over.
func (d *Door) restart(w http.ResponseWriter, r *http.Request) {
	ctx, release, p := d.Life.Wait(r, maxRestartTime, maxRestartTime)
	if p != nil {
		p.WriteTo(w)
		return
	}
	defer release()
	module := r.PathValue("module")
	switch err := d.Processes.Restart(ctx, module); {
	case r.Context().Err() != nil: // The caller is gone.
	case err != nil && d.Life.Draining():
		door.TurnAway(w, "busd is shutting down: "+err.Error())
	case err != nil:
		door.NewProblem(http.StatusConflict, matrix.Unknown, err.Error()).WriteTo(w)
	default:
		door.WriteJSON(w, http.StatusOK, map[string]any{"restarted": module, "workers": len(d.Processes.Processes(module))})
	}
}
