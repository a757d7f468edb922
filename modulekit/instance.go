package modulekit

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// instance is a module as constructed from one configuration. It is never changed.
type instance struct {
	api     *ModuleAPI
	join    *rosterv1.Join
	queues  []string          // subjects that the module's workers share
	targets map[string]target // by subject
}

// target is the callback or the web resource that one subject is for.
type target struct {
	name    string // the callback's full name, or the path
	handler handler
	timeout time.Duration
	web     http.Handler
	read    reader
}

// build parses the configuration in an entry and constructs the module.
func build[C any](m Module[C], o Options, h kitopts.Host, entry *rosterv1.Entry) (*instance, error) {
	config, err := parse(m, entry.GetConfig(), o.Log)
	if err != nil {
		return nil, err
	}
	api, err := construct(m, config, o, h)
	if err != nil {
		return nil, err
	}
	return newInstance(api, m.Version, entry), nil
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

// mostTogether is how many questions a worker takes in one message. Beyond: the next ones come in another.
const mostTogether = 64

// newInstance subscribes nothing yet; it pairs the module with the timeouts and the revision of an entry.
func newInstance(api *ModuleAPI, version string, entry *rosterv1.Entry) *instance {
	o, server := api.options, subjects.For(api.options.ServerName)
	i := &instance{
		api: api,
		join: &rosterv1.Join{
			Worker: o.Worker, Version: version, ConfigRevision: entry.GetConfigRevision(), Needs: map[string]*rosterv1.Needs{}, Pulls: true,
			Batch: uint32(min(o.Concurrency, mostTogether)),
		},
		targets: map[string]target{},
	}
	for d, h := range api.handlers {
		i.join.Callbacks = append(i.join.Callbacks, d.FullName())
		if needs := api.needsOf(d, h); needs != nil {
			i.join.Needs[d.FullName()] = needs
		}
		t := target{name: d.FullName(), handler: h, timeout: timeoutOf(entry, d)}
		i.queue(server.Callback(d, o.Module), t)
		i.targets[server.Worker(d, o.Module, o.Worker)] = t
	}
	for path, h := range api.web {
		i.join.WebResources = append(i.join.WebResources, path)
		i.queue(server.Web(o.Module, path), target{name: path, web: api.spanned(path, h)})
	}
	i.readsDecisions(server)
	slices.Sort(i.join.Callbacks)
	slices.Sort(i.join.WebResources)
	return i
}

func (i *instance) queue(subject string, t target) {
	i.queues = append(i.queues, subject)
	i.targets[subject] = t
}

// timeoutOf is how long the module may take for a callback, by its entry.
func timeoutOf(entry *rosterv1.Entry, d *subjects.Declaration) time.Duration {
	ms, ok := entry.GetTimeoutsMs()[d.FullName()]
	if !ok {
		ms = entry.GetTimeoutMs()
	}
	return wire.FromMilliseconds(ms)
}

// parse returns a [*ConfigError] for any configuration that is refused, even if ParseConfig panics.
func parse[C any](m Module[C], raw json.RawMessage, log *zerolog.Logger) (C, error) {
	if len(raw) == 0 {
		raw = json.RawMessage("{}")
	}
	config, err := guardedParse(m, raw, log)
	var refused *ConfigError
	if err != nil && !errors.As(err, &refused) {
		err = &ConfigError{"", err.Error()}
	}
	return config, err
}

func guardedParse[C any](m Module[C], raw json.RawMessage, log *zerolog.Logger) (_ C, err error) {
	defer responder.Recover(&err, log, "ParseConfig", "", nil)
	if m.ParseConfig == nil {
		return DecodeConfig[C](raw)
	}
	return m.ParseConfig(raw)
}
