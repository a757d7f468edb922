package supervise

import "time"

// Process is the process in one place of a group.
type Process struct {
	Worker            // the one that runs, or ran last
	Started time.Time // when it was started; zero: no process runs
	Ends    int       // how many processes ended here without being asked to by the operator, and were started again
	Last    *Exit     // the last that ended so, or refused its configuration; nil: there was none
}

func (p *Process) exited(e Exit) {
	p.Started = time.Time{}
	if e.Next == Restarts {
		p.Ends++
	}
	if e.Next != Stops {
		p.Last = &e
	}
}

// Processes returns the processes of the group, by ordinal.
func (g *Group) Processes() []Process {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []Process
	for _, w := range g.workers {
		w.mu.Lock()
		all = append(all, w.process)
		w.mu.Unlock()
	}
	return all
}
