package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/wire"
)

const (
	// maxBody is the size of a question over HTTP in bytes. What one module gets of it is bounded by max_payload of NATS, too: if
	// that is exceeded, the module has failed, under its own on_failure, and the others are asked all the same.
	// Beyond: answered 413, M_TOO_LARGE.
	maxBody = 128 << 20

	// largeBody is the size of a question in bytes that is not large, and of one that comes with a file.
	// Beyond: it is read when one of few places is free; with a file it is answered 413, M_TOO_LARGE.
	largeBody = 1 << 20

	// maxLargeBodies is how many large questions are read and asked at once. Beyond: they wait for as long as a body may take,
	// and are answered 503 then.
	maxLargeBodies = 4

	// hugeBody is the size in bytes beyond which a question is huge.
	hugeBody = 64 << 20

	// maxHugeBodies is how many huge questions are read and asked at once. Beyond: they wait as large ones do.
	maxHugeBodies = 1

	// bodyTime is how long a caller may take to send its question. Beyond: answered 408.
	bodyTime = 30 * time.Second

	// drainBodyTime is how long a caller may still take for its question when busd begins to drain. Beyond: answered 408.
	drainBodyTime = 2 * time.Second

	protobufType = "application/x-protobuf"
)

var mediaTypes = map[wire.Mapping]string{wire.JSON: wire.JSONType, wire.Binary: protobufType}

// mappingOf takes everything for JSON that does not say otherwise: curl calls it a form.
func mappingOf(mediaType string) wire.Mapping { return wire.Mapping(mediaType != protobufType) }

func (d *HTTP) ask(w http.ResponseWriter, r *http.Request) {
	out, mapping, p := d.askInTime(w, r)
	if p != nil {
		d.Answerer.note(p)
		p.writeTo(w)
		return
	}
	write(w, http.StatusOK, mediaTypes[mapping], out)
}

func (d *HTTP) askInTime(w http.ResponseWriter, r *http.Request) (out []byte, in wire.Mapping, p *Problem) {
	ctx, cancel, p := d.deadline(r)
	if p != nil {
		return nil, in, p
	}
	defer cancel()
	//nolint:contextcheck // See deadline.
	return d.askIn(ctx, w, r, r.PathValue("category")+"."+r.PathValue("callback"))
}

// askIn asks in the form that the request has: JSON, protobuf, or either of them with a file.
func (d *HTTP) askIn(ctx context.Context, w http.ResponseWriter, r *http.Request, name string) (out []byte, in wire.Mapping, p *Problem) {
	if mediaType(r) == "multipart/form-data" {
		defer d.limitReading(w, fileTime)()
		return d.askUpload(ctx, w, r, name)
	}
	defer d.limitReading(w, bodyTime)()
	body, release, p := d.readBody(ctx, w, r)
	defer release()
	in = mappingOf(mediaType(r))
	if p == nil {
		out, p = d.answer(ctx, name, body, in)
	}
	return out, in, p
}

// answer asks, unless too many asks are under way.
func (d *HTTP) answer(ctx context.Context, name string, body []byte, in wire.Mapping) ([]byte, *Problem) {
	select {
	case d.asks <- struct{}{}:
		defer func() { <-d.asks }()
		return d.Answerer.answer(ctx, name, body, in)
	default:
		return nil, newProblem(http.StatusServiceUnavailable, unknown, fmt.Sprintf("%d asks are under way", maxAsks))
	}
}

// limitReading has the request's body come within a time, or soon if busd drains. It holds until the next request.
func (d *HTTP) limitReading(w http.ResponseWriter, most time.Duration) (stop func() bool) {
	control := http.NewResponseController(w)
	by := func(most time.Duration) { _ = control.SetReadDeadline(time.Now().Add(most)) } // Where it cannot be set, the server's own limits hold.
	by(most)
	return context.AfterFunc(d.Life.draining, func() { by(drainBodyTime) })
}

func mediaType(r *http.Request) string {
	t, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// tier is a size of questions, of which some are read at a time.
type tier struct {
	most   int           // bytes
	places chan struct{} // nil where there is room for all
}

func newTiers() []tier {
	return []tier{{largeBody, nil}, {hugeBody, make(chan struct{}, maxLargeBodies)}, {maxBody, make(chan struct{}, maxHugeBodies)}}
}

// readBody returns the question. A large one has its places until release, which is never nil.
func (d *HTTP) readBody(ctx context.Context, w http.ResponseWriter, r *http.Request) (body []byte, release func(), _ *Problem) {
	var held []chan struct{}
	release = func() {
		for _, places := range held {
			<-places
		}
	}
	limited := http.MaxBytesReader(w, r.Body, maxBody)
	for _, t := range d.tiers {
		if t.places != nil {
			if !place(ctx, t.places) {
				return nil, release, newProblem(http.StatusServiceUnavailable, unknown, fmt.Sprintf("%d large questions are under way", cap(t.places)))
			}
			held = append(held, t.places)
		}
		part, err := io.ReadAll(io.LimitReader(limited, int64(t.most+1-len(body))))
		if body = append(body, part...); err != nil || len(body) <= t.most {
			return body, release, cut(err)
		}
	}
	return body, release, nil // Not reached: the last tier is the limit.
}

// place takes a place as soon as there is one, and reports whether there was one in time.
func place(ctx context.Context, places chan struct{}) bool {
	ctx, cancel := context.WithTimeout(ctx, bodyTime)
	defer cancel()
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// cut says why a body was not read to its end.
func cut(err error) *Problem {
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &large):
		return newProblem(http.StatusRequestEntityTooLarge, tooLarge, fmt.Sprintf(
			"the question is larger than %d bytes: have modules need less state of a room (see NeedState)", maxBody))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return newProblem(http.StatusRequestTimeout, unknown, fmt.Sprintf("the body did not come within %v", bodyTime))
	}
	return newProblem(http.StatusBadRequest, notJSON, "the body is cut")
}

// deadline is the caller's own, if it sent one. Otherwise an ask goes on until there is a decision, for as long as the
// operator's budget says at most: a caller that has closed its half of the connection has not hung up, and to the server both
// look the same.
func (d *HTTP) deadline(r *http.Request) (context.Context, context.CancelFunc, *Problem) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	stop := context.AfterFunc(d.closed, cancel)
	text := r.Header.Get("X-Modulebus-Timeout")
	if text == "" {
		return ctx, func() { stop(); cancel() }, nil
	}
	timeout, err := config.ParseDuration(text)
	if err != nil || timeout <= 0 {
		stop()
		cancel()
		return nil, nil, newProblem(http.StatusBadRequest, invalidParam, "X-Modulebus-Timeout is not a duration (try 500ms)")
	}
	ctx, end := context.WithTimeout(ctx, timeout)
	return ctx, func() { stop(); end(); cancel() }, nil
}
