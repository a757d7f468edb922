package modulekit

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const (
	pieceSize = 128 << 10 // bytes asked for at once
	busyPause = 5 * time.Millisecond
)

// ErrNoContent is what reading a file returns for which the homeserver gave no content.
var ErrNoContent = errors.New("modulekit: the homeserver gave no content for the file")

// OpenFile returns a reader of the file that a request is about. Nothing is sent before the first Read, and never more
// than is read. It reads until the context ends, which it does with the request's; it is for one goroutine.
func (api *ModuleAPI) OpenFile(ctx context.Context, w *callbacksv1.FileWrapper) io.Reader {
	return &fileReader{ctx: ctx, nc: api.options.nc, subject: w.GetSubject()}
}

type fileReader struct {
	ctx     context.Context //nolint:containedctx // A reader has nowhere else to take it from.
	nc      *nats.Conn
	subject string
	offset  int64
	piece   []byte // what has come and was not read yet
	err     error
}

// Read implements [io.Reader].
func (r *fileReader) Read(p []byte) (int, error) {
	if len(r.piece) == 0 && r.err == nil {
		r.piece, r.err = r.next()
		r.offset += int64(len(r.piece))
	}
	if len(r.piece) == 0 {
		return 0, r.err
	}
	n := copy(p, r.piece)
	r.piece = r.piece[n:]
	return n, nil
}

// next gets the next piece, and asks again as long as the homeserver is busy.
func (r *fileReader) next() ([]byte, error) {
	if r.nc == nil || r.subject == "" {
		return nil, ErrNoContent
	}
	req, err := proto.Marshal(&rosterv1.ReadFile{Offset: r.offset, Length: pieceSize})
	if err != nil {
		return nil, err
	}
	for {
		m, err := r.nc.RequestWithContext(r.ctx, r.subject, req)
		if err != nil {
			return nil, err
		}
		f := wire.FailureOf(m)
		switch {
		case f == nil && len(m.Data) == 0:
			return nil, io.EOF
		case f == nil:
			return m.Data, nil
		case f.Kind != rosterv1.FailureKind_BUSY:
			return nil, f
		}
		select {
		case <-r.ctx.Done():
			return nil, r.ctx.Err()
		case <-time.After(busyPause):
		}
	}
}
