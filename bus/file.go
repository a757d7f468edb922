package bus

import (
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/tunnel/nearby"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	maxPiece    = 128 << 10 // bytes of a file in one reply. Beyond: the piece is shorter than was asked.
	fileReaders = 64        // pieces read at once; a module that finds them busy asks again
	ownReaders  = 4         // pieces of a module's files that are read at once when others take all places. Beyond: the module asks again.
)

// files lets modules read files in pieces. A module asks for each piece when it wants it, so no other flow control
// is needed.
type files struct {
	nc     *nats.Conn
	server subjects.Server
	client string // a token, another for each client
	reads  *responder.Responder
	log    *zerolog.Logger

	mu     sync.Mutex
	opened map[string]*openFile // by subject
	place  *nearby.Place        // where modules on this machine connect; nil before the first file, and if it cannot be opened
	begin  sync.Once            // of place
}

// openFile is a file that a module may read.
type openFile struct {
	module  string // that may read it
	content io.ReaderAt
	line    *nearby.Line // to a module on this machine; nil if it reads over NATS
}

func newFiles(nc *nats.Conn, server subjects.Server, log *zerolog.Logger) (*files, error) {
	f := &files{nc: nc, server: server, client: rand.Text(), log: log, opened: map[string]*openFile{}}
	f.reads = responder.New(nc, responder.Options{
		Limit: fileReaders, Requester: f.readerOf, Own: ownReaders, Serve: f.serve, Spell: spellRead, Log: log,
	})
	if err := f.reads.Subscribe(server.FileAny(f.client), ""); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// close ends all reads. It waits for them, but not for ever: a reader of the homeserver may never return.
func (f *files) close() {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		<-f.reads.Drain(closeTimeout)
		f.begin.Do(func() {}) // No place is opened after this.
		if f.place != nil {
			f.place.Close()
		}
	}()
	select {
	case <-ended:
	case <-time.After(2 * closeTimeout):
		f.log.Warn().Msg("a file is still being read, though nobody asks for it any more: its reader does not return")
	}
}

// open returns a subject, which cannot be guessed, on which the module can read the content until closeFile is
// called.
func (f *files) open(module string, content io.ReaderAt) (subject string, closeFile func()) {
	f.begin.Do(func() { f.place, _ = nearby.Open(f.client, nearFiles{f}) }) // If it fails, files are read over NATS.
	subject = f.server.File(module, f.client, rand.Text())
	f.mu.Lock()
	f.opened[subject] = &openFile{module: module, content: content}
	f.mu.Unlock()
	return subject, func() { f.shut(subject) }
}

func (f *files) shut(subject string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if line := f.opened[subject].line; line != nil {
		line.Close()
	}
	delete(f.opened, subject)
}

// contentOf returns the content of a file; nil if there is no such file.
func (f *files) contentOf(subject string) io.ReaderAt {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.opened[subject]; file != nil {
		return file.content
	}
	return nil
}

// readerOf is the module that asks for a piece: NATS lets a module use its own name alone. Those that ask for what is no file of theirs are one.
func (f *files) readerOf(m *nats.Msg) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if file := f.opened[m.Subject]; file != nil {
		return file.module
	}
	return ""
}

// serve answers with a piece, which is empty at the end of the file.
func (f *files) serve(m *nats.Msg) responder.Answer {
	content, req := f.contentOf(m.Subject), &rosterv1.ReadFile{}
	if content == nil || f.read(m, req) != nil {
		return failure(rosterv1.FailureKind_ERROR, "no such file: the question it belongs to is answered")
	}
	piece := make([]byte, min(int(req.GetLength()), maxPiece, int(f.nc.MaxPayload())))
	n, err := content.ReadAt(piece, req.GetOffset())
	if err != nil && !errors.Is(err, io.EOF) {
		return failure(rosterv1.FailureKind_ERROR, "the file cannot be read")
	}
	return responder.Answer{Data: piece[:n]}
}

func (f *files) read(m *nats.Msg, req *rosterv1.ReadFile) error {
	err := wire.DecodeMessage(m, req)
	if err == nil && (req.GetOffset() < 0 || req.GetLength() == 0) {
		err = errors.New("offset or length")
	}
	return err
}

func spellRead(t responder.Trouble) responder.Answer {
	if t.Cause == responder.Busy {
		return failure(rosterv1.FailureKind_BUSY, "ask again")
	}
	return failure(rosterv1.FailureKind_ERROR, t.Text)
}

func failure(kind rosterv1.FailureKind, text string) responder.Answer {
	return responder.Answer{Header: (&wire.Failure{Kind: kind, Text: text}).Header()}
}
