package nearby

import (
	"runtime"
	"sync"
)

// turns has few pieces of bodies moved at the same moment: one processor less than there are is busy with them, and sees what
// else has arrived. With a single processor that is one piece, after a [look]. Its zero value is ready; its methods may be called
// concurrently.
type turns struct {
	opened   sync.Once
	counting sync.RWMutex  // guards the next two
	taken    chan struct{} // has room for as many as are moved at once
	single   bool          // there was one processor when they were counted
	network  look
}

// take waits for a turn. Whoever has one must not wait for the other side of a line, and receives from the channel to give it back.
func (t *turns) take() (taken <-chan struct{}) {
	t.opened.Do(t.open)
	t.counting.RLock()
	room, single := t.taken, t.single
	t.counting.RUnlock()
	room <- struct{}{}
	if single {
		t.network.await()
	}
	return room
}

func (t *turns) open() {
	t.count()
	t.network.opened.Do(t.network.open)
}

// count counts the processors, whose number follows the limits of the cgroup. Who has a turn keeps it.
func (t *turns) count() {
	t.counting.Lock()
	defer t.counting.Unlock()
	processors := runtime.GOMAXPROCS(0)
	t.single = processors == 1
	if turns := max(1, processors-1); turns != cap(t.taken) {
		t.taken = make(chan struct{}, turns)
	}
}
