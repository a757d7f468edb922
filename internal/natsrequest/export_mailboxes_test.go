package natsrequest

import (
	"maps"
	"slices"
)

// Unsorted is how many bytes of answers at a subject wait to be read.
func (m *Mux) Unsorted(subject string) int {
	m.boxes.mu.Lock()
	defer m.boxes.mu.Unlock()
	return m.boxes.all[subject].size
}

// UnsortedTogether is how many bytes of answers wait to be read, whosever they are.
func (m *Mux) UnsortedTogether() int {
	m.boxes.mu.Lock()
	defer m.boxes.mu.Unlock()
	return m.boxes.size
}

// Modules are the subjects at which answers are taken.
func (m *Mux) Modules() []string {
	m.boxes.mu.Lock()
	defer m.boxes.mu.Unlock()
	return slices.Collect(maps.Keys(m.boxes.all))
}
