package askdoor

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
)

const (
	// maxBody is the size of a question over HTTP in bytes. NATS's max_payload also limits what one module gets of it:
	// beyond that, the module has failed, under its own on_failure, and the others are asked all the same. Beyond:
	// answered 413, M_TOO_LARGE.
	maxBody = 128 << 20

	// largeBody is the size in bytes up to which a question is not large, and the most that a question with a file may
	// have. Beyond: it is read when one of few places is free; with a file it is answered 413, M_TOO_LARGE.
	largeBody = 1 << 20

	// maxLargeBodies is how many large questions are read and asked at once. Beyond: they wait for as long as a body may
	// take to arrive, and are then answered 503.
	maxLargeBodies = 4

	// hugeBody is the size in bytes beyond which a question is huge.
	hugeBody = 64 << 20

	// maxHugeBodies is how many huge questions are read and asked at once. Beyond: they wait like large ones.
	maxHugeBodies = 1

	protobufType = "application/x-protobuf"
)

// Options configure the door. All are required.
type Options struct {
	// ServerName is the homeserver's, as the configuration has it.
	ServerName string

	Answerer *door.Answerer
	Client   *bus.Client
	Life     *door.Life
	Log      zerolog.Logger
}

// Door is for homeservers that ask over HTTP. It implements [door.Served].
type Door struct {
	door.Stateless
	Options
	tiers    []tier                 // of questions that are being read or asked, by size
	closed   door.Phase             // begins with Close: asks that still run end
	stranger atomic.Pointer[string] // the last name of a homeserver that differed from ServerName
}

// New returns the door, closed.
func New(o Options) *Door { return &Door{Options: o, tiers: newTiers(), closed: door.NewPhase()} }

// Close implements [door.Door].
func (d *Door) Close() { d.closed.Begin() }

// Routes implements [door.Served].
func (d *Door) Routes() []door.Route {
	return []door.Route{
		{In: webpath.Bus, Path: "/v1/ask/{category}/{callback}", Method: http.MethodPost, Needs: access.Ask, Traced: true, Started: true, Handler: d.ask},
		{In: webpath.Bus, Path: "/v1/wants", Method: http.MethodGet, Needs: access.Ask, Started: true, Handler: d.wants},
	}
}

var mediaTypes = map[wire.Mapping]string{wire.JSON: wire.JSONType, wire.Binary: protobufType}

// mappingOf returns the encoding of a media type. Everything but protobuf's is JSON: curl calls its body a form.
func mappingOf(mediaType string) wire.Mapping { return wire.Mapping(mediaType != protobufType) }

func (d *Door) ask(w http.ResponseWriter, r *http.Request) {
	out, mapping, p := d.askInTime(w, r)
	if p != nil {
		d.Answerer.Note(p)
		p.WriteTo(w)
		return
	}
	door.Write(w, http.StatusOK, mediaTypes[mapping], out)
}

func (d *Door) askInTime(w http.ResponseWriter, r *http.Request) (out []byte, in wire.Mapping, p *door.Problem) {
	ctx, cancel, p := d.deadline(r)
	if p != nil {
		return nil, in, p
	}
	defer cancel()
	//nolint:contextcheck // See deadline.
	return d.askIn(ctx, w, r, r.PathValue("category")+"."+r.PathValue("callback"))
}

// askIn asks in the form that the request has: JSON, protobuf, or either of them with a file.
func (d *Door) askIn(ctx context.Context, w http.ResponseWriter, r *http.Request, name string) (out []byte, in wire.Mapping, p *door.Problem) {
	if mediaType(r) == "multipart/form-data" {
		defer d.Life.LimitReading(w, fileTime)()
		return d.askUpload(ctx, w, r, name)
	}
	defer d.Life.LimitReading(w, door.BodyTime)()
	body, release, p := d.readBody(ctx, w, r)
	defer release()
	in = mappingOf(mediaType(r))
	if p == nil {
		out, p = d.answer(ctx, name, body, in)
	}
	return out, in, p
}

// answer asks, unless too many asks are under way.
func (d *Door) answer(ctx context.Context, name string, body []byte, in wire.Mapping) ([]byte, *door.Problem) {
	release, ok := d.Answerer.Take()
	if !ok {
		return nil, door.NewProblem(http.StatusServiceUnavailable, matrix.Unknown, fmt.Sprintf("%d asks are under way", door.MaxAsks))
	}
	defer release()
	return d.Answerer.Answer(ctx, name, body, in)
}

func mediaType(r *http.Request) string {
	t, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// tier is a size of questions. Of each tier, only some questions are read at a time.
type tier struct {
	most   int           // bytes
	places chan struct{} // nil for no limit
}

func newTiers() []tier {
	return []tier{{largeBody, nil}, {hugeBody, make(chan struct{}, maxLargeBodies)}, {maxBody, make(chan struct{}, maxHugeBodies)}}
}

// readBody returns the question. A large one holds its places until release is called; release is never nil.
func (d *Door) readBody(ctx context.Context, w http.ResponseWriter, r *http.Request) (body []byte, release func(), _ *door.Problem) {
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
				text := fmt.Sprintf("%d large questions are under way", cap(t.places))
				return nil, release, door.NewProblem(http.StatusServiceUnavailable, matrix.Unknown, text)
			}
			held = append(held, t.places)
		}
		part, err := io.ReadAll(io.LimitReader(limited, int64(t.most+1-len(body))))
		if body = append(body, part...); err != nil || len(body) <= t.most {
			return body, release, door.Cut(err, door.BodyTime)
		}
	}
	return body, release, nil // Not reached: the last tier is the limit.
}

// place waits for a place and takes it. It reports false if ctx ends first.
func place(ctx context.Context, places chan struct{}) bool {
	ctx, cancel := context.WithTimeout(ctx, door.BodyTime)
	defer cancel()
	select {
	case places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// deadline returns a context with the caller's deadline, if it sent one. The context does not end with the connection:
// a caller that has closed its half of the connection may still wait for the answer, and the server cannot tell that
// from hanging up. So an ask goes on until there is a decision, at most for the operator's budget.
func (d *Door) deadline(r *http.Request) (context.Context, context.CancelFunc, *door.Problem) {
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
		return nil, nil, door.NewProblem(http.StatusBadRequest, matrix.InvalidParam, "X-Modulebus-Timeout is not a duration (try 500ms)")
	}
	ctx, end := context.WithTimeout(ctx, timeout)
	return ctx, func() { stop(); end(); cancel() }, nil
}

// askUpload asks with the file at hand.
func (d *Door) askUpload(ctx context.Context, w http.ResponseWriter, r *http.Request, name string) ([]byte, wire.Mapping, *door.Problem) {
	u, p := readUpload(r)
	if p != nil {
		return nil, wire.JSON, p
	}
	file := &spool{source: u.file}
	defer file.close()
	out, p := d.answer(bus.WithFile(ctx, file, -1), name, u.request, u.in)
	if !file.ended() { // A read that is under way must not delay the decision. The connection cannot be used again.
		w.Header().Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now())
	}
	return out, u.in, p
}
