package modulekit

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const (
	// maxQuestion is how large a question that is read in pieces may be, in bytes. Beyond: it is malformed.
	maxQuestion = 256 << 20

	// piecesAtOnce is how many pieces of one question are asked for at once.
	piecesAtOnce = 8
)

// question returns the payload of a question. It reads a question that is larger than a message in pieces. See ADR 32.
func (w *worker) question(ctx context.Context, m *nats.Msg) ([]byte, *wire.Failure) {
	subject := wire.Header(m, wire.HeaderQuestion)
	if subject == "" {
		return m.Data, nil
	}
	size, err := strconv.Atoi(wire.Header(m, wire.HeaderQuestionSize))
	if err != nil || size < 0 || size > maxQuestion {
		return nil, &wire.Failure{Kind: rosterv1.FailureKind_MALFORMED, Text: fmt.Sprintf("a question may take %d bytes", maxQuestion)}
	}
	question := make([]byte, size)
	if err := w.pull(ctx, subject, question); err != nil {
		f := &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: fmt.Sprintf("cannot read the question of %d bytes: %v", size, err)}
		if ctx.Err() != nil {
			f.Kind = rosterv1.FailureKind_TIMEOUT
		}
		return nil, f
	}
	return question, nil
}

// pull fills a buffer with the question that can be read at a subject, several pieces at once.
func (w *worker) pull(ctx context.Context, subject string, into []byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pieces := make(chan int)
	var pulling sync.WaitGroup
	for range piecesAtOnce {
		pulling.Go(func() {
			for at := range pieces {
				if err := w.pullPiece(ctx, subject, int64(at), into[at:min(at+pieceSize, len(into))]); err != nil {
					cancel(err)
				}
			}
		})
	}
	for at := 0; at < len(into) && ctx.Err() == nil; at += pieceSize {
		select {
		case pieces <- at:
		case <-ctx.Done():
		}
	}
	close(pieces)
	pulling.Wait()
	return context.Cause(ctx)
}

var errShort = errors.New("it is shorter than was said")

// pullPiece fills a buffer with the part of the question that begins at an offset.
func (w *worker) pullPiece(ctx context.Context, subject string, offset int64, into []byte) error {
	for len(into) > 0 {
		piece, err := w.host.ReadFile(ctx, subject, offset, uint32(len(into)))
		switch {
		case err != nil:
			return err
		case len(piece) == 0:
			return errShort
		}
		n := copy(into, piece)
		into, offset = into[n:], offset+int64(n)
	}
	return nil
}
