package bus

import (
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// memory is what a client has learnt of modules. It outlives rosters. The client's lock guards it.
type memory struct {
	callbacks map[modulesCallback]*learnt
	workers   map[modulesWorker]*health
}

// modulesCallback is one callback of one module.
type modulesCallback struct {
	callback *subjects.Declaration
	module   string
}

// modulesWorker is one worker of one module.
type modulesWorker struct{ module, worker string }

// learnt is what a client has learnt of one callback of one module.
type learnt struct {
	breaker *breaker
	hedges  hedges
	streak  streak
}

func newMemory() memory {
	return memory{map[modulesCallback]*learnt{}, map[modulesWorker]*health{}}
}

// of returns what is known of a module's callback. Its breaker is a new one if the terms have changed.
func (m *memory) of(d *subjects.Declaration, module string, t terms) *learnt {
	key := modulesCallback{d, module}
	l := m.callbacks[key]
	if l == nil {
		l = &learnt{}
		l.hedges.earned.Store(hedgeSaved / hedgeCost)
		m.callbacks[key] = l
	}
	if l.breaker == nil || l.breaker.terms != t {
		l.breaker = &breaker{terms: t}
	}
	return l
}

// worker returns what is known of a worker.
func (m *memory) worker(module, name string) *health {
	key := modulesWorker{module, name}
	if m.workers[key] == nil {
		m.workers[key] = &health{}
	}
	return m.workers[key]
}

// retain forgets the workers that the roster does not list.
func (m *memory) retain(r *rosterv1.Roster) {
	listed := map[modulesWorker]*health{}
	for _, one := range rosterwire.Modules(r) {
		for _, name := range one.GetWorkers() {
			listed[modulesWorker{one.GetName(), name}] = m.worker(one.GetName(), name)
		}
	}
	m.workers = listed
}
