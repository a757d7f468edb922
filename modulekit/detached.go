package modulekit

import (
	"context"
	"encoding/json"
	"net/http"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Detached is a module that was constructed and registered, and is on no bus. It is what package modulekittest asks.
type Detached struct{ api *ModuleAPI }

// Detach parses the configuration and constructs the module as [Run] would, without NATS.
func Detach[Config any](m Module[Config], config json.RawMessage, o Options) (*Detached, error) {
	i, err := build(m, o.withDefaults(), &rosterv1.Entry{Config: config})
	if err != nil {
		return nil, err
	}
	return &Detached{i.api}, nil
}

// Callbacks returns what the module registered.
func (d *Detached) Callbacks() []*subjects.Declaration {
	var registered []*subjects.Declaration
	for _, c := range subjects.All() {
		if d.api.handlers[c].call != nil {
			registered = append(registered, c)
		}
	}
	return registered
}

// Ask asks the module as a bus would: the request travels as bytes, a panic becomes an error. The answer is nil when the
// module has no opinion, or did not register the callback.
func (d *Detached) Ask(ctx context.Context, cb subjects.AnyCallback, req proto.Message) (proto.Message, error) {
	c := subjects.DeclarationOf(cb)
	h := d.api.handlers[c]
	if h.call == nil {
		return nil, nil
	}
	data, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	data, failed := h.handle(ctx, data, wire.Binary, d.api.Log())
	if failed != nil {
		return nil, failed
	}
	if len(data) == 0 {
		return nil, nil
	}
	reply := c.NewReply()
	return reply, proto.Unmarshal(data, reply)
}

// ServeHTTP serves the module's web resources as a homeserver would: the longest path that fits. It implements
// [http.Handler].
func (d *Detached) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h, ok := webpath.Longest(d.api.web, r.URL.Path); ok {
		h.ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}
