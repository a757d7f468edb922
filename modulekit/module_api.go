package modulekit

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// ModuleAPI connects a module with its homeserver. New gets it, and registers the module's callbacks, web resources and
// loops with it; the methods for that may be called only by the goroutine of New, until New returns. All other methods
// may be called at any time, concurrently. Those that call the homeserver block until it has answered or ctx ends, 60 s
// at most. If the homeserver, or busd, answers with an error, the method's error wraps a [*MatrixError].
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

// ServerName returns the homeserver's server name, such as example.com.
func (api *ModuleAPI) ServerName() string { return api.options.ServerName }

// Name returns the name of the module, as the operator's list has it.
func (api *ModuleAPI) Name() string { return api.options.Module }

// Worker returns the name of this process among the module's workers. By default, each start has another name.
func (api *ModuleAPI) Worker() string { return api.options.Worker }

// Log returns the module's logger, which is never nil. Do not log secrets: passwords, tokens, addresses.
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

// register registers the callbacks of a category that the module implements.
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

// MatrixError is the error of a call of the Module API that the homeserver, or busd, answered with an error.
type MatrixError = matrix.Error

// callHomeserver makes the calls of every method of the Module API. It blocks until the reply has arrived or ctx ends,
// at most [wire.CallTimeout]. It may be called concurrently, and from callbacks and web resources.
func callHomeserver[Request, Reply proto.Message](
	ctx context.Context, api *ModuleAPI, m subjects.APIMethod[Request, Reply], req Request,
) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, wire.CallTimeout)
	defer cancel()
	reply, err := api.host.Call(ctx, m.Method, req)
	if err != nil {
		var none Reply
		return none, fmt.Errorf("modulekit: %s: %w", m.Name, err)
	}
	return reply.(Reply), nil
}

// IsMine reports whether an ID, such as @alice:example.com, belongs to this homeserver.
func (api *ModuleAPI) IsMine(id string) bool {
	_, server, ok := strings.Cut(id, ":")
	return ok && server == api.ServerName()
}

// GetQualifiedUserID returns the user ID of a local user, @username:server. It returns a username that begins with @ unchanged.
func (api *ModuleAPI) GetQualifiedUserID(username string) string {
	if strings.HasPrefix(username, "@") {
		return username
	}
	return "@" + username + ":" + api.ServerName()
}
