package responder

import (
	"runtime"
	"sync"

	wirebatch "github.com/modulebus/modulebus/internal/batch"
)

const (
	// maxAnswers is how large a message of several answers may grow, in bytes. Beyond: the next answer begins another message.
	maxAnswers = 64 << 10

	// maxUnsent is how many bytes of answers may wait to be sent. Beyond: the next goroutine with an answer waits.
	maxUnsent = 1 << 20
)

// answers sends answers to batches, those together that are there at the same time. No answer waits for another: as soon as there
// is one, a goroutine is on its way to send it. Publish must be set; the methods may be called concurrently.
type answers struct {
	publish func(to string, frame []byte)

	mu     sync.Mutex
	room   *sync.Cond
	frames []sending
	spare  []sending
	size   int
	open   bool // a goroutine is sending, and will look again
	owned  sync.WaitGroup
}

// sending is one message of answers.
type sending struct {
	to    string
	frame []byte
}

func newAnswers(publish func(to string, frame []byte)) *answers {
	a := &answers{publish: publish}
	a.room = sync.NewCond(&a.mu)
	return a
}

// add sends an answer, in a message that is at most that large if it has others.
func (a *answers) add(to string, answer wirebatch.Answer, most int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.size > maxUnsent {
		a.room.Wait()
	}
	f := a.frameFor(to, len(answer.Data)+len(answer.Code)+len(answer.Text), most)
	before := len(f.frame)
	f.frame = wirebatch.AppendAnswer(f.frame, answer)
	a.size += len(f.frame) - before
	if !a.open {
		a.open = true
		a.owned.Go(a.flush)
	}
}

// frameFor returns the message in which an answer travels: one that has begun, or another.
func (a *answers) frameFor(to string, size, most int) *sending {
	for i := len(a.frames) - 1; i >= 0; i-- {
		if f := &a.frames[i]; f.to == to && len(f.frame)+size < most {
			return f
		}
	}
	var frame []byte
	if n := len(a.frames); n < cap(a.frames) {
		frame = a.frames[:n+1][n].frame[:0]
	}
	a.frames = append(a.frames, sending{to, frame})
	return &a.frames[len(a.frames)-1]
}

// flush sends messages until there are none. Before each it yields to goroutines that are about to answer.
func (a *answers) flush() {
	runtime.Gosched()
	for out := a.take(); len(out) > 0; out = a.take() {
		for i := range out {
			a.publish(out[i].to, out[i].frame)
			out[i].to = ""
		}
		a.giveBack(out)
		runtime.Gosched()
	}
}

func (a *answers) take() []sending {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.frames
	a.frames, a.spare, a.size = a.spare[:0], nil, 0
	a.open = len(out) > 0
	a.room.Broadcast()
	return out
}

// giveBack keeps the memory of some messages for later ones.
func (a *answers) giveBack(out []sending) {
	const kept = 16
	for i := range out {
		if i >= kept || cap(out[i].frame) > 2*maxAnswers {
			out[i].frame = nil
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.spare = out
}

// wait returns when all that was added is sent. No more may be added meanwhile.
func (a *answers) wait() { a.owned.Wait() }
