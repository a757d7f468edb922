package worker

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// body is the body of a request, as it comes in. The first read lets the gateway send it, and thereby a client that
// expects 100 Continue.
type body struct {
	x       *exchange
	request *http.Request
	mu      sync.Mutex // held while one reads: a part that it has taken is not released by another
	rest    flow.Part
	opened  bool
	closed  atomic.Bool
	err     error
	until   flow.Deadline
}

// Read implements [io.Reader]. A body that breaks off ends with [io.ErrUnexpectedEOF].
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if len(b.rest.Bytes) == 0 && b.err == nil && len(p) > 0 {
		if err := b.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.rest.Bytes)
	if n == 0 {
		return 0, b.err
	}
	b.rest = b.rest.Cut(n)
	b.x.Consumed(n)
	return n, nil
}

// WriteTo implements [io.WriterTo]. It writes what came in as it came in.
func (b *body) WriteTo(w io.Writer) (total int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if b.closed.Load() {
			return total, http.ErrBodyReadAfterClose
		}
		if len(b.rest.Bytes) == 0 && b.err == nil {
			if err := b.fill(); err != nil && !errors.Is(err, io.EOF) {
				return total, err
			}
		}
		if len(b.rest.Bytes) == 0 {
			if errors.Is(b.err, io.EOF) {
				return total, nil
			}
			return total, b.err
		}
		n, err := w.Write(b.rest.Bytes)
		total += int64(n)
		if err != nil {
			b.rest = b.rest.Kept() // Whoever failed may still use it.
		}
		b.rest = b.rest.Cut(n)
		b.x.Consumed(n)
		if err != nil {
			return total, err
		}
	}
}

// fill waits for the next part. A deadline that passed may be moved; any other error stays.
func (b *body) fill() error {
	if err := b.open(); err != nil {
		return err
	}
	part, _, err := b.x.Read(b.x.limits(&b.until))
	b.rest = part
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	b.err = b.translate(err)
	return b.err
}

func (b *body) open() error {
	if b.opened {
		return nil
	}
	credit, ok := b.x.OpenCredit()
	if !ok {
		return errors.New("tunnel: too many request bodies are under way")
	}
	b.opened = true
	if n := b.request.ContentLength; n < 0 || n >= flow.NearMin {
		b.x.near(false)
	}
	b.x.accept(credit)
	return nil
}

func (b *body) translate(err error) error {
	declared := b.request.ContentLength
	switch {
	case errors.Is(err, io.EOF) && (declared < 0 || uint64(declared) == b.x.ConsumedLen()):
		b.finish()
	case errors.Is(err, io.EOF) || errors.Is(err, errClientGone) || errors.Is(err, errGatewayLost):
		return io.ErrUnexpectedEOF
	}
	return err
}

// finish fills in the trailers, where the handler looks for them.
func (b *body) finish() {
	if len(b.x.Trailers) == 0 {
		return
	}
	if b.request.Trailer == nil {
		b.request.Trailer = http.Header{}
	}
	maps.Copy(b.request.Trailer, frame.HeaderOf(b.x.Trailers))
}

// Close implements [io.Closer]. Nothing is read after it.
func (b *body) Close() error {
	b.closed.Store(true)
	return nil
}
