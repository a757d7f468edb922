package roster

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

func (m *module) status() Status {
	s := Status{
		Name:         m.Name,
		Shadow:       m.Shadow,
		State:        m.state(),
		Since:        m.since,
		Version:      m.last.GetVersion(),
		Workers:      len(m.workers),
		Processes:    m.processes(),
		Callbacks:    append([]string{}, m.wanted()...),
		WebResources: append([]string{}, m.last.GetWebResources()...),
		Problems:     m.problems(),
		Remembered:   len(m.workers) == 0 && len(m.wanted()) > 0,
		Unknown:      m.unknown(),
		Restarts:     m.restarts,
		unwell:       len(m.unservable()) > 0 || m.excess != "",
	}
	s.LastError, s.LastErrorAt, s.LastErrorOver = m.failure.text, m.failure.at, m.failure.text != ""
	switch wrong := m.lastError(); wrong {
	case "":
	case m.failure.text:
		s.LastErrorOver = false
	default:
		s.trouble(wrong, time.Time{})
	}
	if n := m.reduced(); n > 0 {
		s.addProblem(fmt.Sprintf("its workers register too many different things to remember: of what %d of them register, only callbacks count, "+
			"and those that need something are not asked; all should register the same", n))
	}
	for _, id := range slices.Sorted(maps.Keys(m.workers)) {
		w := m.workers[id]
		s.WorkerList = append(s.WorkerList, Worker{Name: id, Version: w.version, Since: w.since})
	}
	return s
}

// reduced returns how many of its workers register too much to remember.
func (m *module) reduced() (n int) {
	for _, w := range m.workers {
		if w.reduced {
			n++
		}
	}
	return n
}

func (m *module) processes() int {
	if len(m.Run) == 0 {
		return 0
	}
	return m.Workers
}

// track notes the time of a change of state.
func (m *module) track(now time.Time) {
	if s := m.state(); s != m.current {
		m.current, m.since = s, now
	}
}

func (m *module) state() State {
	switch {
	case m.unwell != "" && len(m.workers) > 0:
		return Failed
	case len(m.workers) > 0:
		return Ready
	case m.refused != nil || m.crash != "":
		return Failed
	case m.InBusd():
		return Starting
	}
	return Absent
}

func (m *module) lastError() string {
	switch {
	case m.refused != nil:
		return m.refusal()
	case m.crash != "":
		return m.crash
	case m.unwell != "" && len(m.workers) > 0:
		return m.unwell
	case len(m.workers) == 0 && !m.InBusd():
		return strings.Join(append([]string{"no worker has joined: start one, with MODULEBUS_MODULE=" + m.Name}, m.problems()...), "; ")
	}
	return strings.Join(m.problems(), "; ")
}

func (m *module) refusal() string {
	if m.refused.GetPath() == "" {
		return "config refused: " + m.refused.GetError()
	}
	return fmt.Sprintf("config refused: %s: %s", m.refused.GetPath(), m.refused.GetError())
}

// problems returns the problems of the module as a whole, which its workers are told, too.
func (m *module) problems() (problems []string) {
	if m.excess != "" {
		problems = append(problems, m.excess)
	}
	if m.unknown() {
		problems = append(problems, "it has never joined, so nobody knows what it wants, and it is asked nothing: "+
			"name under its callbacks what must not pass without it")
	}
	for _, path := range m.last.GetWebResources() {
		if owner := m.lost[path]; owner != "" {
			problems = append(problems, fmt.Sprintf("web resource %s is served by module %s, "+
				"which registers it, or a path above it, and is earlier in the roster: use another path, or list %s before it", path, owner, m.Name))
		}
	}
	for _, name := range m.declined {
		problems = append(problems, name+" is named under its callbacks, and it does not register it, so it is not asked")
	}
	for _, name := range slices.Sorted(maps.Keys(m.last.GetUnserved())) {
		problems = append(problems, m.last.GetUnserved()[name])
	}
	problems = append(problems, m.unservable()...)
	if m.differ() {
		problems = append(problems, fmt.Sprintf("its workers do not all register the same callbacks: "+
			"are two modules named %s, or two versions running?", m.Name))
	}
	return problems
}

// differ reports whether some of its workers register other callbacks than the rest.
func (m *module) differ() bool {
	for _, w := range m.workers {
		if !slices.Equal(w.registered.GetCallbacks(), m.last.GetCallbacks()) {
			return true
		}
	}
	return false
}

// unservable returns the parts of the registration that NATS does not let any worker serve.
func (m *module) unservable() (problems []string) {
	names := map[string]bool{}
	for _, w := range m.workers {
		for name := range w.unserved {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if why := m.unservedBy(name); why != "" {
			problems = append(problems, fmt.Sprintf("%s cannot be asked: %s", name, why))
		}
	}
	return problems
}

// unservedBy returns why no worker can serve a callback or path; empty if one can.
func (m *module) unservedBy(name string) (why string) {
	for _, id := range slices.Sorted(maps.Keys(m.workers)) {
		w := m.workers[id]
		if !slices.Contains(w.registered.GetCallbacks(), name) && !slices.Contains(w.registered.GetWebResources(), name) {
			continue
		}
		if w.unserved[name] == "" {
			return ""
		}
		why = w.unserved[name]
	}
	return why
}
