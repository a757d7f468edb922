package natsrequest

import (
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/batch"
)

// mailboxes keep the answers to batches until they are read: one for each module, so that none waits behind, or is lost for, what
// another module sends. Its methods may be called concurrently.
type mailboxes struct {
	read    func(*mailbox, *nats.Msg)
	awaited func() map[string]bool // the subjects at which batches may be answered now

	mu      sync.Mutex
	all     map[string]*mailbox // by subject
	size    int                 // bytes in all of them
	closed  bool
	reading sync.WaitGroup
}

// keptUnread is of how many messages a mailbox keeps the memory for later ones.
const keptUnread = 256

// mailbox is the answers of one module.
type mailbox struct {
	run     func()
	unread  []*nats.Msg
	size    int            // bytes of those that are unread
	reading int            // bytes of those that are being read
	spare   []*nats.Msg    // the memory of those that were read
	open    bool           // a goroutine is reading, and will look again
	answers []batch.Answer // of the last message; the memory is for the next one. Only the goroutine that reads uses it
}

// kept is how many bytes are unread, or are being read.
func (m *mailbox) kept() int { return m.size + m.reading }

func newMailboxes(read func(*mailbox, *nats.Msg), awaited func() map[string]bool) *mailboxes {
	return &mailboxes{read: read, awaited: awaited, all: map[string]*mailbox{}}
}

// open makes a mailbox for the answers to a batch whose questions are waited for, unless there is one. It takes those away where nothing
// is waited for, so there are never more than the modules that are asked at the same time, and one.
func (b *mailboxes) open(subject string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all[subject] != nil {
		return
	}
	awaited := b.awaited()
	for other, box := range b.all {
		if !awaited[other] && !box.open {
			delete(b.all, other)
		}
	}
	box := &mailbox{}
	box.run = func() { b.readAll(box) }
	b.all[subject] = box
}

// fromStream is a header that JetStream gives to what it reads from a stream.
const fromStream = "Nats-Stream"

// put takes in a message. It is dropped where nobody has asked the module, where there is no room, and where JetStream sends it: to
// whatever subject a module names for the reply, also that of another module.
func (b *mailboxes) put(m *nats.Msg) {
	if len(m.Header[fromStream]) > 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	box := b.all[m.Subject]
	if box == nil || b.closed || !b.hasRoom(box, len(m.Data)) {
		return
	}
	box.unread = append(box.unread, m)
	box.size += len(m.Data) + aroundAnswers
	b.size += len(m.Data) + aroundAnswers
	if !box.open {
		box.open = true
		b.reading.Go(box.run)
	}
}

// hasRoom reports whether a mailbox may keep so many bytes more. The first message always may. Where all of them together are too many,
// the fullest mailbox loses what is unread, so that modules which send little lose nothing to those that send much.
func (b *mailboxes) hasRoom(box *mailbox, more int) bool {
	kept := box.kept()
	if kept == 0 || kept+more > maxUnread {
		return kept == 0
	}
	if b.size+more <= maxUnreadTogether {
		return true
	}
	if fullest := b.fullerThan(box); fullest != box {
		b.empty(fullest)
	}
	return b.size+more <= maxUnreadTogether
}

// fullerThan is the mailbox that keeps most, of those in which something is unread; box itself where none of them keeps more.
func (b *mailboxes) fullerThan(box *mailbox) (fullest *mailbox) {
	fullest = box
	for _, other := range b.all {
		if other.size > 0 && other.kept() > fullest.kept() {
			fullest = other
		}
	}
	return fullest
}

// empty drops what is unread.
func (b *mailboxes) empty(box *mailbox) {
	b.size -= box.size
	clear(box.unread)
	box.unread, box.size = box.unread[:0], 0
}

// readAll reads messages until there are none.
func (b *mailboxes) readAll(box *mailbox) {
	for all := b.take(box); len(all) > 0; all = b.take(box) {
		for _, m := range all {
			b.read(box, m)
		}
		clear(all)
		if box.spare = all[:0]; cap(all) > keptUnread {
			box.spare = nil
		}
	}
}

// take returns what is unread. What was returned before is read.
func (b *mailboxes) take(box *mailbox) []*nats.Msg {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := box.unread
	b.size -= box.reading
	box.unread, box.spare, box.reading, box.size = box.spare, nil, box.size, 0
	box.open = len(all) > 0
	return all
}

// close drops what comes from now on, and waits until the rest is read.
func (b *mailboxes) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.reading.Wait()
}
