package antispamdoor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/antispam"
	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// answerTime is how long a homeserver waits for an answer of the HTTP antispam protocol, from its request's header on.
	// Beyond: modules that have not answered have failed, under their own on_failure.
	answerTime = 9 * time.Second

	// bodyTime is how much of answerTime a homeserver may take to send its question. Beyond: answered 408.
	bodyTime = 4 * time.Second

	// maxBody is the size of a question in bytes. Beyond: answered 413, M_TOO_LARGE.
	maxBody = 1 << 20
)

// ping is the protocol's one request that is no callback.
const ping = "ping"

// Options configure the door. All are required.
type Options struct {
	// ServerName is the homeserver's, as the configuration has it.
	ServerName string

	Answerer *door.Answerer
	Life     *door.Life
	Log      zerolog.Logger
}

// Door is for homeservers that ask in the HTTP antispam protocol. It implements [door.Served].
type Door struct {
	door.Stateless
	Options
	closed    door.Phase             // begins with Close: asks that still run end
	unheardOf atomic.Pointer[string] // the last unknown callback
}

// New returns the door, closed.
func New(o Options) *Door { return &Door{Options: o, closed: door.NewPhase()} }

// Close implements [door.Door].
func (d *Door) Close() { d.closed.Begin() }

// Routes implements [door.Served]. The protocol is served at busd's own path and at Meowlnir's and Draupnir's, so that
// in the configuration of a homeserver that used one of those, only the host changes. More segments may follow
// (Meowlnir's has a room); the last one is the callback.
func (d *Door) Routes() []door.Route {
	at := func(in webpath.Prefix, path string) door.Route {
		return door.Route{In: in, Path: path, Tree: true, Method: http.MethodPost, Needs: access.Ask, Always: true, Traced: true, Handler: d.serve}
	}
	return []door.Route{at(webpath.Bus, "/antispam"), at(webpath.Meowlnir, ""), at(webpath.Draupnir, "")}
}

// serve answers a request of the HTTP antispam protocol. Clients treat every error as a refusal, and a refused
// connection as a failure, so busd goes on answering while it drains, until it stops listening.
func (d *Door) serve(w http.ResponseWriter, r *http.Request) {
	// A client that has closed its half of the connection still waits for the answer, so the request's cancellation is
	// ignored.
	ctx := door.Until{Context: spans.Keep(d.closed, r.Context()), Time: time.Now().Add(answerTime)}
	if d.Life.Draining() {
		w.Header().Set("Connection", "close")
	}
	if body, p := d.answer(ctx, w, r); p != nil {
		d.Answerer.Note(p)
		p.WriteTo(w)
	} else {
		status := http.StatusOK
		if body.refused {
			status = http.StatusForbidden
		}
		door.Write(w, status, wire.JSONType, body.json)
	}
}

// reply is a response that is not an error of busd.
type reply struct {
	json    []byte
	refused bool
}

func (d *Door) answer(ctx door.Until, w http.ResponseWriter, r *http.Request) (reply, *door.Problem) {
	name := path.Base(r.URL.Path)
	callback, known := antispam.Find(name)
	if !known && name != ping {
		d.passOver(name)
		return reply{json: antispam.Allowed}, nil
	}
	body, p := d.body(w, r)
	switch {
	case p != nil:
		return reply{}, p
	case name == ping:
		return pong(body)
	}
	req, err := antispam.Decode(callback, body)
	if err != nil {
		return reply{}, undecoded(err)
	}
	return d.ask(ctx, callback, req)
}

// passOver lets an unknown callback pass, because a later version of the protocol may have it. It logs a name if it
// differs from the last one; only the last one is remembered, so that callers cannot fill memory.
func (d *Door) passOver(name string) {
	if last := d.unheardOf.Swap(&name); last == nil || *last != name {
		d.Log.Warn().Str("callback", wire.OneLine(name)).Msg("the antispam protocol has no such callback that busd knows: what it is about goes on")
	}
}

func (d *Door) body(w http.ResponseWriter, r *http.Request) ([]byte, *door.Problem) {
	defer d.Life.LimitReading(w, bodyTime)()
	body, err := readWhole(http.MaxBytesReader(w, r.Body, maxBody), r.ContentLength)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, door.NewProblem(http.StatusRequestEntityTooLarge, matrix.TooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBody))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, door.NewProblem(http.StatusRequestTimeout, matrix.Unknown, fmt.Sprintf("the body did not come within %v", bodyTime))
	}
	return body, door.Cut(err, bodyTime)
}

// readWhole reads a body into a buffer of the announced length.
func readWhole(body io.Reader, length int64) ([]byte, error) {
	if length < 0 || length > maxBody {
		return io.ReadAll(body)
	}
	whole := make([]byte, length)
	_, err := io.ReadFull(body, whole)
	return whole, err
}

// pong answers a ping with its ID.
func pong(body []byte) (reply, *door.Problem) {
	var ping map[string]json.RawMessage // A struct would take ID for id.
	if err := json.Unmarshal(body, &ping); err != nil || ping == nil || !utf8.Valid(body) {
		return reply{}, undecoded(antispam.ErrNotJSON)
	}
	id := ping["id"]
	if id == nil {
		id = json.RawMessage("null")
	}
	return reply{json: fmt.Appendf(nil, `{"id":%s,"status":"ok"}`, id)}, nil
}

func undecoded(err error) *door.Problem {
	if errors.Is(err, antispam.ErrNotJSON) {
		return door.NewProblem(http.StatusBadRequest, matrix.NotJSON, err.Error())
	}
	return door.NewProblem(http.StatusBadRequest, matrix.BadJSON, err.Error())
}

// ask asks the modules. It waits for a busd that is starting, because clients of this protocol do not try again.
func (d *Door) ask(ctx door.Until, callback *subjects.Declaration, req proto.Message) (reply, *door.Problem) {
	release, ok := d.Answerer.Take()
	if !ok {
		return d.failure(callback, req, http.StatusServiceUnavailable)
	}
	defer release()
	if !d.Life.AwaitBeginUntil(ctx) {
		return d.failure(callback, req, http.StatusServiceUnavailable)
	}
	decision, p := d.Answerer.Ask(ctx, callback, req)
	switch {
	case p != nil && p.Module != "": // A module failed whose policy is fail.
		return reply{}, undecided(p.Status)
	case p != nil:
		return d.failure(callback, req, p.Status)
	}
	answer, ok := decision.Answer.(interface {
		GetRefusal() *callbacksv1.Refusal
	})
	if !ok || answer.GetRefusal() == nil {
		return reply{json: antispam.Allowed}, nil
	}
	return reply{antispam.Refused(answer.GetRefusal()), true}, nil
}

// failure is the answer when no module can be asked. An event of another server is treated by the default policy for a
// failed module: the homeserver would treat an error as a refusal, and a refused event is lost for ever.
func (d *Door) failure(callback *subjects.Declaration, req proto.Message, status int) (reply, *door.Problem) {
	server := antispam.SenderServer(req)
	if server != "" && server != d.ServerName && callback.Options.GetOnFailureFederated() == callbacksv1.OnFailure_SKIP {
		return reply{json: antispam.Allowed}, nil
	}
	return reply{}, undecided(status)
}

// undecided is an error that does not mention modules, because homeservers show it to users.
func undecided(status int) *door.Problem {
	return door.NewProblem(status, matrix.Unknown, "The spam checker cannot decide at the moment. Try again later.")
}
