package modulekit

import (
	"context"
	"errors"
	"io"

	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// pieceSize is how many bytes of a file are asked for at once. A homeserver may give less.
const pieceSize = 128 << 10

// ErrNoContent is the error of reading a file whose content the homeserver did not give.
var ErrNoContent = errors.New("modulekit: the homeserver gave no content for the file")

// OpenFile returns a reader of the file that a request is about. Each Read fetches what it needs from the homeserver, and
// blocks until that is there or ctx ends. The content can be read until the request is answered. The reader is for one
// goroutine.
func (api *ModuleAPI) OpenFile(ctx context.Context, w *callbacksv1.FileWrapper) io.Reader {
	return &fileReader{ctx: ctx, host: api.host, subject: w.GetSubject()}
}

type fileReader struct {
	ctx     context.Context //nolint:containedctx // A reader has nowhere else to take it from.
	host    kitopts.Host
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

func (r *fileReader) next() ([]byte, error) {
	if r.subject == "" {
		return nil, ErrNoContent
	}
	piece, err := r.host.ReadFile(r.ctx, r.subject, r.offset, pieceSize)
	if err == nil && len(piece) == 0 {
		err = io.EOF
	}
	return piece, err
}
