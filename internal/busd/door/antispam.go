package door

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/antispam"
	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// antispamPaths are where homeservers find the HTTP antispam protocol: busd's own, Meowlnir's and Draupnir's, so that a
// homeserver whose configuration is made for one of those needs another host alone. What follows may have more segments
// (Meowlnir's has a room); the last one is the callback.
var antispamPaths = []string{"/_modulebus/antispam", "/_meowlnir/antispam", "/api/1/spam_check"}

const (
	// antispamTime is how long a homeserver waits for an answer of the HTTP antispam protocol, from its request's header on.
	// Beyond: modules that have not answered have failed, under their own on_failure.
	antispamTime = 9 * time.Second

	// antispamBodyTime is how much of that a homeserver may take to send its question. Beyond: answered 408.
	antispamBodyTime = 4 * time.Second
)

// ping is what the protocol has beside callbacks.
const ping = "ping"

func ofAntispam(p string) bool {
	return slices.ContainsFunc(antispamPaths, func(parent string) bool { return webpath.Below(p, parent) && p != parent })
}

// antispamRoute is of all paths of the protocol. It is none of the mux's, which redirects paths that it would write otherwise.
func (d *HTTP) antispamRoute() route {
	return route{path: antispamPaths[0] + "/", method: http.MethodPost, needs: access.Ask, always: true, traced: true, handler: d.antispam}
}

// antispam answers homeservers that ask in the HTTP antispam protocol. Its clients take every error for a refusal, and a
// connection that is refused for a failure: so while busd drains, it answers for as long as it listens.
func (d *HTTP) antispam(w http.ResponseWriter, r *http.Request) {
	// A client that has closed its half of the connection still waits.
	ctx := until{spans.Keep(d.closed, r.Context()), time.Now().Add(antispamTime)}
	if d.Life.Draining() {
		w.Header().Set("Connection", "close")
	}
	if body, p := d.antispamAnswer(ctx, w, r); p != nil {
		d.Answerer.note(p)
		p.writeTo(w)
	} else {
		status := http.StatusOK
		if body.refused {
			status = http.StatusForbidden
		}
		write(w, status, wire.JSONType, body.json)
	}
}

// antispamReply is a body of the protocol that is no error of busd's.
type antispamReply struct {
	json    []byte
	refused bool
}

func (d *HTTP) antispamAnswer(ctx until, w http.ResponseWriter, r *http.Request) (antispamReply, *Problem) {
	name := path.Base(r.URL.Path)
	callback, known := antispam.Find(name)
	if !known && name != ping {
		d.passOver(name)
		return antispamReply{json: antispam.Allowed}, nil
	}
	body, p := d.antispamBody(w, r)
	switch {
	case p != nil:
		return antispamReply{}, p
	case name == ping:
		return pong(body)
	}
	req, err := antispam.Decode(callback, body)
	if err != nil {
		return antispamReply{}, undecoded(err)
	}
	return d.antispamAsk(ctx, callback, req)
}

// passOver lets go on what a later version of the protocol may ask. Each name is logged once; the last one is remembered, so
// that callers cannot fill memory.
func (d *HTTP) passOver(name string) {
	if last := d.unheardOf.Swap(&name); last == nil || *last != name {
		d.Log.Warn().Str("callback", wire.OneLine(name)).Msg("the antispam protocol has no such callback that busd knows: what it is about goes on")
	}
}

func (d *HTTP) antispamBody(w http.ResponseWriter, r *http.Request) ([]byte, *Problem) {
	defer d.limitReading(w, antispamBodyTime)()
	body, err := readWhole(http.MaxBytesReader(w, r.Body, largeBody), r.ContentLength)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, newProblem(http.StatusRequestEntityTooLarge, tooLarge, fmt.Sprintf("the body is larger than %d bytes", largeBody))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, newProblem(http.StatusRequestTimeout, unknown, fmt.Sprintf("the body did not come within %v", antispamBodyTime))
	}
	return body, cut(err)
}

// readWhole reads a body into as much memory as it says it needs.
func readWhole(body io.Reader, length int64) ([]byte, error) {
	if length < 0 || length > largeBody {
		return io.ReadAll(body)
	}
	whole := make([]byte, length)
	_, err := io.ReadFull(body, whole)
	return whole, err
}

// pong echoes the ID, whatever it is.
func pong(body []byte) (antispamReply, *Problem) {
	var ping struct {
		ID json.RawMessage `json:"id"`
	}
	if err := json.Unmarshal(body, &ping); err != nil {
		return antispamReply{}, undecoded(antispam.ErrNotJSON)
	}
	if ping.ID == nil {
		ping.ID = json.RawMessage("null")
	}
	return antispamReply{json: fmt.Appendf(nil, `{"id":%s,"status":"ok"}`, ping.ID)}, nil
}

func undecoded(err error) *Problem {
	if errors.Is(err, antispam.ErrNotJSON) {
		return newProblem(http.StatusBadRequest, notJSON, err.Error())
	}
	return newProblem(http.StatusBadRequest, badJSON, err.Error())
}

// antispamAsk asks the modules. That busd starts is waited for: clients of this protocol do not come back.
func (d *HTTP) antispamAsk(ctx until, callback *subjects.Declaration, req proto.Message) (antispamReply, *Problem) {
	select {
	case d.asks <- struct{}{}:
		defer func() { <-d.asks }()
	default:
		return d.antispamFailure(callback, req, http.StatusServiceUnavailable)
	}
	if !d.Life.awaitBeginUntil(ctx) {
		return d.antispamFailure(callback, req, http.StatusServiceUnavailable)
	}
	decision, p := d.Answerer.Ask(ctx, callback, req)
	switch {
	case p != nil && p.Module != "": // The operator wants that to fail.
		return antispamReply{}, undecided(p.Status)
	case p != nil:
		return d.antispamFailure(callback, req, p.Status)
	}
	answer, ok := decision.Answer.(interface {
		GetRefusal() *callbacksv1.Refusal
	})
	if !ok || answer.GetRefusal() == nil {
		return antispamReply{json: antispam.Allowed}, nil
	}
	return antispamReply{antispam.Refused(answer.GetRefusal()), true}, nil
}

// antispamFailure is the answer when no module can be asked: an event of another server goes on where it would if one module
// failed, because to its homeserver an error is a refusal, and a refused event is lost for ever.
func (d *HTTP) antispamFailure(callback *subjects.Declaration, req proto.Message, status int) (antispamReply, *Problem) {
	server := antispam.SenderServer(req)
	if server != "" && server != d.ServerName && callback.Options.GetOnFailureFederated() == callbacksv1.OnFailure_SKIP {
		return antispamReply{json: antispam.Allowed}, nil
	}
	return antispamReply{}, undecided(status)
}

// undecided says nothing of modules: homeservers show this error to users.
func undecided(status int) *Problem {
	return newProblem(status, unknown, "The spam checker cannot decide at the moment. Try again later.")
}
