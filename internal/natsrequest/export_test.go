package natsrequest

// Hold has requests wait until release is called, as they do while the connection takes none.
func (m *Mux) Hold() (release func()) {
	m.out.mu.Lock()
	defer m.out.mu.Unlock()
	m.out.open = true
	return m.out.flushAll
}

// Proven reports whether answers to batches have come.
func (r *Route) Proven() bool { return r.proven.Load() }
