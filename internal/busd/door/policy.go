package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/policyserver"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	signPath      = "/_matrix/policy/v1/sign"
	oldSignPath   = "/_matrix/policy/unstable/org.matrix.msc4284/sign"
	wellKnownPath = "/.well-known/matrix/policy_server"

	// signBodyTime is how long a server may take to send what it asks the policy server. Beyond: answered 408.
	signBodyTime = 5 * time.Second
)

// AskPolicy is how a policy server asks: as all doors do, about something of an origin of its own.
func AskPolicy(a *Answerer, life *Life) policyserver.Ask {
	all := subjects.All()
	callback := all[slices.IndexFunc(all, func(d *subjects.Declaration) bool { return d.Options.GetPolicyServer() })]
	return func(ctx context.Context, event *callbacksv1.Event) (*callbacksv1.Refusal, error) {
		if !life.awaitBegin(ctx) {
			return nil, errors.New("busd is starting")
		}
		req := callback.NewRequest()
		req.ProtoReflect().Set(declared.Of(callback).Event, protoreflect.ValueOfMessage(event.ProtoReflect()))
		decision, p := a.Ask(bus.WithOrigin(ctx, bus.OriginPolicyServer), callback, req)
		switch {
		case p != nil && p.Module != "":
			return nil, fmt.Errorf("%w: %s", policyserver.ErrFailed, p.Text)
		case p != nil:
			return nil, p
		}
		if answer, ok := decision.Answer.(interface{ GetRefusal() *callbacksv1.Refusal }); ok {
			return answer.GetRefusal(), nil
		}
		return nil, nil // No opinion.
	}
}

// policyRoutes are those of the policy server, if busd is one. Servers of the federation call them, which have no token and
// sign what they send. They are answered until the door closes: a server that is turned away takes that for an answer.
func (d *HTTP) policyRoutes() []route {
	if d.PolicyServer == nil {
		return nil
	}
	const signed = "servers of the federation sign what they ask"
	return []route{
		{path: signPath, method: http.MethodPost, open: signed, always: true, traced: true, handler: d.sign},
		{path: oldSignPath, method: http.MethodPost, open: signed, always: true, traced: true, handler: d.sign},
		{path: wellKnownPath, method: http.MethodGet, open: "anybody may know the key", always: true, handler: d.policyWellKnown},
	}
}

// isPolicy reports whether a path is the policy server's.
func (d *HTTP) isPolicy(path string) bool {
	return d.PolicyServer != nil && (strings.HasPrefix(path, "/_matrix/policy/") || path == wellKnownPath)
}

func (d *HTTP) sign(w http.ResponseWriter, r *http.Request) {
	defer d.limitReading(w, signBodyTime)()
	body, err := io.ReadAll(io.LimitReader(r.Body, policyserver.MaxBody+1))
	if p := cut(err); p != nil {
		p.writeTo(w)
		return
	}
	a := d.PolicyServer.Sign(r.Context(), policyserver.Request{
		Method: r.Method, URI: r.URL.RequestURI(), Authorizations: r.Header.Values("Authorization"), Body: body,
	})
	write(w, a.Status, wire.JSONType, a.Body)
}

func (d *HTTP) policyWellKnown(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*") // Clients in browsers read it (specification: web browser clients).
	write(w, http.StatusOK, wire.JSONType, d.PolicyServer.WellKnown())
}
