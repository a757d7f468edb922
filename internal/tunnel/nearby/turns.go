package nearby

import (
	"runtime"
	"sync"
)

// turns has few pieces of bodies moved at the same moment: one processor less than there are is busy with them, and sees what
// else has arrived. With a single processor that is one piece, after a [look]. Its zero value is ready; its methods may be called
// concurrently.
type turns struct {
	opened  sync.Once
	taken   chan struct{} // has room for as many as are moved at once
	single  bool          // there was one processor when they were opened
	network look
}

// take waits for a turn. Whoever has one must not wait for the other side of a line, and gives it back.
func (t *turns) take() {
	t.opened.Do(t.open)
	t.taken <- struct{}{}
	if t.single {
		t.network.await()
	}
}

func (t *turns) give() { <-t.taken }

func (t *turns) open() {
	processors := runtime.GOMAXPROCS(0)
	t.single, t.taken = processors == 1, make(chan struct{}, max(1, processors-1))
	t.network.opened.Do(t.network.open)
}
