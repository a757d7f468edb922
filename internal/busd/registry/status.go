package registry

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// State is how a module is.
type State string

// The states of a module.
const (
	Ready    State = "ready"    // workers have joined
	Starting State = "starting" // busd runs it, and no worker has joined yet
	Absent   State = "absent"   // it is listed, and no worker is there
	Failed   State = "failed"   // its configuration was refused, or its process ends again and again
	Unlisted State = "unlisted" // it has joined, and the roster does not list it
)

// Status is how a module is, for people and programs to read.
type Status struct {
	Name         string   `json:"name"`
	Order        int      `json:"order"` // from 1, in the roster; 0 is unlisted
	State        State    `json:"state"`
	Version      string   `json:"version,omitempty"`
	Workers      int      `json:"workers"`
	Processes    int      `json:"-"` // of the module that busd runs
	Callbacks    []string `json:"callbacks"`
	WebResources []string `json:"web_resources"`
	LastError    string   `json:"last_error,omitempty"`
}

// Modules returns the status of each module: the listed ones in roster order, then the unlisted ones by name.
func (r *Registry) Modules() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Status
	for i, m := range r.listed {
		s := m.status()
		s.Order = i + 1
		all = append(all, s)
	}
	var guests []Status
	for _, m := range r.unlisted {
		s := m.status()
		s.State = Unlisted
		s.LastError = fmt.Sprintf("not in the roster, so it is not asked: add \"- module: %s\"", m.Name)
		guests = append(guests, s)
	}
	slices.SortFunc(guests, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return append(all, guests...)
}

func (m *module) status() Status {
	return Status{
		Name:         m.Name,
		State:        m.state(),
		Version:      m.last.GetVersion(),
		Workers:      len(m.workers),
		Processes:    m.processes(),
		Callbacks:    append([]string{}, m.last.GetCallbacks()...),
		WebResources: append([]string{}, m.last.GetWebResources()...),
		LastError:    m.lastError(),
	}
}

func (m *module) processes() int {
	if len(m.Run) == 0 {
		return 0
	}
	return m.Workers
}

func (m *module) state() State {
	switch {
	case len(m.workers) > 0:
		return Ready
	case m.refused != nil || m.crash != "":
		return Failed
	case len(m.Run) > 0:
		return Starting
	}
	return Absent
}

func (m *module) lastError() string {
	switch {
	case m.refused != nil && m.refused.GetPath() != "":
		return fmt.Sprintf("config refused: %s: %s", m.refused.GetPath(), m.refused.GetError())
	case m.refused != nil:
		return "config refused: " + m.refused.GetError()
	case m.crash != "":
		return m.crash
	case len(m.workers) == 0 && len(m.Run) == 0:
		return "no worker has joined: start one, with MODULEBUS_MODULE=" + m.Name
	}
	return strings.Join(m.problems(), "; ")
}
