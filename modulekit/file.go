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

// ahead is how many pieces of a file are asked for at once, after a first piece that was as large as asked. While one
// piece is read, the others are on their way.
const ahead = 4

// OpenFile returns a reader of the file that a request is about. Each Read fetches what it needs from the homeserver,
// and blocks until that has arrived or ctx ends. After the first 128 KiB, the content comes without NATS if the
// homeserver is on this machine (see ADR 72), and otherwise in up to four pieces at once. The content can be read until
// the request is answered. The reader may be used by one goroutine at a time.
func (api *ModuleAPI) OpenFile(ctx context.Context, w *callbacksv1.FileWrapper) io.Reader {
	return &fileReader{ctx: ctx, host: api.host, subject: w.GetSubject(), size: pieceSize}
}

type fileReader struct {
	ctx     context.Context //nolint:containedctx // Read has no parameter for it.
	host    kitopts.Host
	subject string
	size    int            // of pieces, as the homeserver gives them
	offset  int64          // of the next piece that is read
	asked   []<-chan piece // the pieces that were asked for, from there on
	more    int            // how many pieces are asked for at once; 0 for one
	near    *nearFile      // nil if it is read over NATS
	piece   []byte         // what has arrived and is not read yet
	err     error
}

// piece is a part of a file, or the error of fetching it.
type piece struct {
	data []byte
	err  error
}

// Read implements [io.Reader].
func (r *fileReader) Read(p []byte) (int, error) {
	if len(r.piece) == 0 && r.err == nil {
		r.piece, r.err = r.next()
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
	if data, err := r.nearby(); err == nil || errors.Is(err, io.EOF) {
		return data, err
	}
	r.ask()
	got := <-r.asked[0]
	r.asked = r.asked[1:]
	switch n := len(got.data); {
	case got.err != nil:
		return nil, got.err
	case n == 0:
		return nil, io.EOF
	case n < r.size: // The pieces that were asked for after it begin too late, unless the file ends here.
		r.asked, r.size, r.more = nil, n, 1
	default:
		r.more = ahead
	}
	r.offset += int64(len(got.data))
	return got.data, nil
}

// nearby returns the next bytes of the file without NATS. If it fails, the rest of the file is read over NATS.
func (r *fileReader) nearby() ([]byte, error) {
	if r.offset == pieceSize { // The file is larger than one piece.
		r.near = reachFile(r.ctx, r.subject, r.offset)
	}
	if r.near == nil {
		return nil, errNotNear
	}
	r.asked = nil
	data, err := r.near.next()
	if r.offset += int64(len(data)); err != nil {
		r.near = nil
	}
	return data, err
}

var errNotNear = errors.New("modulekit: the file does not come past NATS")

// ask asks for the next piece, and for more pieces if the file seems to go on.
func (r *fileReader) ask() {
	for len(r.asked) < max(1, r.more) {
		r.asked = append(r.asked, r.fetch(r.offset+int64(len(r.asked)*r.size)))
	}
}

// fetch asks for one piece. Its goroutine ends with the answer or with ctx, even if the reader is not used any more.
func (r *fileReader) fetch(offset int64) <-chan piece {
	came := make(chan piece, 1)
	size := uint32(r.size)
	go func() {
		data, err := r.host.ReadFile(r.ctx, r.subject, offset, size)
		came <- piece{data, err}
	}()
	return came
}
