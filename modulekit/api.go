package modulekit

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// ModuleAPI connects a module with its homeserver. New gets it, and registers the module's callbacks, web resources and loops
// with it; the methods for that may be called only by the goroutine of New, until New returns. All other methods may be called
// at any time, concurrently.
type ModuleAPI struct {
	options  Options
	host     kitopts.Host
	tell     teller
	handlers map[*subjects.Declaration]handler
	state    map[*subjects.Declaration]*rosterv1.StateFilter
	web      map[string]http.Handler
	loops    []loop
	read     reader
	problems []error
	spans    *spans.Maker
}

// ServerName is the homeserver's, such as example.com.
func (api *ModuleAPI) ServerName() string { return api.options.ServerName }

// Name is the module's, as the operator's roster has it.
func (api *ModuleAPI) Name() string { return api.options.Module }

// Worker names this process among the module's workers. Another start has another name.
func (api *ModuleAPI) Worker() string { return api.options.Worker }

// Log is the module's logger. Do not log secrets: passwords, tokens, addresses.
func (api *ModuleAPI) Log() *zerolog.Logger { return api.options.Log }

// RegisterWebResource makes the homeserver serve the path, and everything below it, with the handler; if several paths match a
// request, the longest counts. The path is unescaped, and should lie below /_synapse/client/. Paths of the Matrix
// specification, of Synapse and of busd are refused: constructing the module fails. A path that equals, or lies below, the path
// of a module earlier in the operator's roster is not served. The handler may be called concurrently.
func (api *ModuleAPI) RegisterWebResource(path string, h http.Handler) {
	if err := webpath.Check(path); err != nil {
		api.problem(err)
		return
	}
	if h == nil {
		api.problem(fmt.Errorf("web resource %q has no handler", path))
	}
	if _, taken := api.web[path]; taken {
		api.problem(fmt.Errorf("web resource %q is registered twice", path))
	}
	api.web[path] = h
}

func (api *ModuleAPI) problem(err error) { api.problems = append(api.problems, err) }

// register takes the callbacks of a category that are implemented.
func (api *ModuleAPI) register(c *subjects.Category, handlers []handler) {
	implemented := 0
	for _, h := range handlers {
		if h.call == nil {
			continue
		}
		implemented++
		if _, taken := api.handlers[h.callback]; taken {
			api.problem(fmt.Errorf("%s is registered twice", h.callback.FullName()))
		}
		api.handlers[h.callback] = h
	}
	if c.AllOrNone && implemented != 0 && implemented != len(handlers) {
		api.problem(fmt.Errorf("%s: all of its %d callbacks must be registered or none, not %d", c.Name, len(handlers), implemented))
	}
}

// handler is one callback that a module implements.
type handler struct {
	callback *subjects.Declaration
	call     func(context.Context, proto.Message) (proto.Message, error) // nil for a callback that the module leaves out
	needs    *rosterv1.Needs                                             // nil for none
	follow   *follow                                                     // nil where nothing is followed up
}

func bind[Request, Reply proto.Message](
	cb subjects.Callback[Request, Reply], f func(context.Context, Request) (Reply, error),
) handler {
	if f == nil {
		return handler{callback: cb.Declaration}
	}
	return handler{callback: cb.Declaration, call: func(ctx context.Context, req proto.Message) (proto.Message, error) {
		return f(ctx, req.(Request))
	}}
}

func newAPI(o Options, h kitopts.Host) *ModuleAPI {
	return &ModuleAPI{
		options:  o,
		host:     h,
		tell:     tellAtOnce,
		handlers: map[*subjects.Declaration]handler{},
		state:    map[*subjects.Declaration]*rosterv1.StateFilter{},
		web:      map[string]http.Handler{},
	}
}

// construct calls New, and returns what it registered.
func construct[C any](m Module[C], config C, o Options, h kitopts.Host) (*ModuleAPI, error) {
	api := newAPI(o, h)
	api.spans = spans.New(m.TracerProvider, "modulekit")
	if err := guardedNew(m, config, api); err != nil {
		return nil, fmt.Errorf("modulekit: cannot construct module %s: %w", o.Module, err)
	}
	api.checkState()
	if err := errors.Join(api.problems...); err != nil {
		return nil, fmt.Errorf("modulekit: module %s registers what it cannot: %w", o.Module, err)
	}
	api.linkFollowUps()
	return api, nil
}

func guardedNew[C any](m Module[C], config C, api *ModuleAPI) (err error) {
	defer responder.Recover(&err, api.Log(), "its New", "", nil)
	return m.New(config, api)
}
