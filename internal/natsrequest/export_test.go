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

// Unread is how many bytes of replies, and of answers to batches, may wait to be read; below 0 any number.
func (m *Mux) Unread() (most []int) {
	for _, sub := range m.subs {
		_, size, _ := sub.PendingLimits()
		most = append(most, size)
	}
	return most
}

// Probing is how many batches without a question may still be answered.
func (m *Mux) Probing() (n int) {
	for i := range m.shards {
		m.shards[i].mu.Lock()
		n += len(m.shards[i].waiting)
		m.shards[i].mu.Unlock()
	}
	return n - m.Waiting()
}

// Crowd has the worker have so many requests unanswered that the next ones wait for an answer, and for nothing else.
func (m *Mux) Crowd(r *Route) {
	r.away.Store(waitBehind + 2)
	m.out.mu.Lock()
	defer m.out.mu.Unlock()
	m.out.ticks = true
}

// Away is how many requests the worker has not answered.
func (r *Route) Away() int { return int(r.away.Load()) }
