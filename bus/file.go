package bus

import (
	"crypto/rand"
	"errors"
	"io"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/pool"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	maxPiece    = 128 << 10 // bytes of a file in one reply
	fileReaders = 64        // pieces read at once; a module that finds them busy asks again
)

// files lets modules read files piece by piece, each as it wants them: that is all the flow control there is to do.
type files struct {
	nc     *nats.Conn
	server subjects.Server
	client string // a token, another for each client
	sub    *nats.Subscription
	pool   *pool.Pool

	mu     sync.Mutex
	opened map[string]io.ReaderAt // by subject
}

func newFiles(nc *nats.Conn, server subjects.Server) (*files, error) {
	f := &files{nc: nc, server: server, client: rand.Text(), opened: map[string]io.ReaderAt{}}
	f.pool = pool.Answering(fileReaders, f.serve, f.reply, f.busy)
	var err error
	if f.sub, err = nc.ChanSubscribe(server.FileAny(f.client), f.pool.Work); err != nil {
		<-f.pool.Stop()
		return nil, err
	}
	return f, nil
}

func (f *files) close() {
	_ = f.sub.Unsubscribe() // It fails only when the connection is closed.
	<-f.pool.Stop()
}

// open returns where a module can read the content until it is closed. Nobody can guess it.
func (f *files) open(module string, content io.ReaderAt) (subject string, closeFile func()) {
	subject = f.server.File(module, f.client, rand.Text())
	f.mu.Lock()
	f.opened[subject] = content
	f.mu.Unlock()
	return subject, func() {
		f.mu.Lock()
		delete(f.opened, subject)
		f.mu.Unlock()
	}
}

// serve answers with a piece, which is empty at the end of the file.
func (f *files) serve(m *nats.Msg) (nats.Header, []byte) {
	f.mu.Lock()
	content := f.opened[m.Subject]
	f.mu.Unlock()
	req := &rosterv1.ReadFile{}
	if content == nil || f.read(m, req) != nil {
		return failureHeader(rosterv1.FailureKind_ERROR, "no such file: the question it belongs to is answered"), nil
	}
	piece := make([]byte, min(int(req.GetLength()), maxPiece, int(f.nc.MaxPayload())))
	n, err := content.ReadAt(piece, req.GetOffset())
	if err != nil && !errors.Is(err, io.EOF) {
		return failureHeader(rosterv1.FailureKind_ERROR, "the file cannot be read"), nil
	}
	return nil, piece[:n]
}

func (f *files) read(m *nats.Msg, req *rosterv1.ReadFile) error {
	err := wire.DecodeMessage(m, req)
	if err == nil && (req.GetOffset() < 0 || req.GetLength() == 0) {
		err = errors.New("offset or length")
	}
	return err
}

func (f *files) busy(m *nats.Msg) {
	f.reply(m, failureHeader(rosterv1.FailureKind_BUSY, "ask again"), nil)
}

func (f *files) reply(m *nats.Msg, h nats.Header, data []byte) {
	_ = f.nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: h, Data: data}) // The module's deadline covers what is lost.
}

func failureHeader(kind rosterv1.FailureKind, text string) nats.Header {
	return (&wire.Failure{Kind: kind, Text: text}).Header()
}
