package policydoor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/policyserver"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// signBodyTime is how long a server may take to send what it asks the policy server. Beyond: refused.
	signBodyTime = 5 * time.Second

	// beginTime is how long an event waits for a busd that is starting. Beyond: refused.
	beginTime = 2 * time.Second
)

// Ask returns the function with which a policy server asks modules: as all doors do, with the origin
// [bus.OriginPolicyServer].
func Ask(a *door.Answerer, life *door.Life) policyserver.Ask {
	all := subjects.All()
	callback := all[slices.IndexFunc(all, func(d *subjects.Declaration) bool { return d.Options.GetPolicyServer() })]
	return func(ctx context.Context, event *callbacksv1.Event) (*callbacksv1.Refusal, error) {
		// Longer than at other doors, because homeservers ask once about an event, and keep a refusal.
		if !life.AwaitBeginUntil(door.Until{Context: ctx, Time: time.Now().Add(beginTime)}) {
			return nil, errors.New("busd is starting")
		}
		req := callback.NewRequest()
		req.ProtoReflect().Set(declared.Of(callback).Event, protoreflect.ValueOfMessage(event.ProtoReflect()))
		decision, p := a.Ask(bus.WithOrigin(ctx, bus.OriginPolicyServer), callback, req)
		switch {
		case p != nil && p.Module != "":
			return nil, policyserver.ErrFailed
		case p != nil:
			return nil, p
		case decision.ByPolicy: // It names the module.
			return &callbacksv1.Refusal{Error: policyserver.Undecided}, nil
		}
		if answer, ok := decision.Answer.(interface{ GetRefusal() *callbacksv1.Refusal }); ok {
			return answer.GetRefusal(), nil
		}
		return nil, nil // No opinion.
	}
}

// Options configure the door. All are required.
type Options struct {
	// KeyFile holds the key that events are signed with. If it does not exist, it is made.
	KeyFile string

	// Server are the options of the policy server. The door sets Key and Ask.
	Server policyserver.Options

	Answerer *door.Answerer
	Life     *door.Life
}

// Door is for servers of the federation, which have no token and sign what they ask. It implements [door.Served].
type Door struct {
	door.Stateless
	Options
	server *policyserver.Server // nil until Open
}

// New returns the door, closed.
func New(o Options) *Door { return &Door{Options: o} }

// Open implements [door.Door].
func (d *Door) Open() (err error) {
	o := d.Server
	if o.Key, err = policyserver.OpenKey(d.KeyFile); err != nil {
		return fmt.Errorf("policy_server.key_file: %w", err)
	}
	o.Ask = Ask(d.Answerer, d.Life)
	d.server = policyserver.New(o)
	return nil
}

// Close implements [door.Door].
func (d *Door) Close() {
	if d.server != nil {
		d.server.Close()
	}
}

// Routes implements [door.Served]. They are answered until the door closes, because a server would treat a 503 as an
// answer.
func (d *Door) Routes() []door.Route {
	sign := func(path string) door.Route {
		return door.Route{
			In: webpath.PolicyServer, Path: path, Method: http.MethodPost, Open: "servers of the federation sign what they ask",
			Always: true, Traced: true, Handler: d.sign,
		}
	}
	return []door.Route{
		sign("/v1/sign"),
		sign("/unstable/org.matrix.msc4284/sign"),
		{In: webpath.PolicyKey, Method: http.MethodGet, Open: "anybody may know the key", Always: true, Handler: d.wellKnown},
	}
}

func (d *Door) sign(w http.ResponseWriter, r *http.Request) {
	defer d.Life.LimitReading(w, signBodyTime)()
	body, err := io.ReadAll(io.LimitReader(r.Body, policyserver.MaxBody+1))
	var a policyserver.Answer
	if err != nil {
		a = d.server.Cut()
	} else {
		a = d.server.Sign(r.Context(), policyserver.Request{
			Method: r.Method, URI: r.URL.RequestURI(), Authorizations: r.Header.Values("Authorization"), Body: body,
		})
	}
	door.Write(w, a.Status, wire.JSONType, a.Body)
}

func (d *Door) wellKnown(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*") // Clients in browsers read it (specification: web browser clients).
	door.Write(w, http.StatusOK, wire.JSONType, d.server.WellKnown())
}
