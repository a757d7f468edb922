// Package config reads busd.yaml: the operator's list of modules, and where busd listens.
//
//	c, err := config.Read("busd.yaml", catalogue)
//	if err != nil {
//		fmt.Fprintln(os.Stderr, err) // every mistake in the file, one a line
//		os.Exit(2)
//	}
//
// # Failure
//
// Reading is strict, and complete: each mistake of a file is one [Problem] with its line, its column and its path inside
// the file, and [Errors] holds all of them. Only text that is not YAML at all ends at its first mistake. What stands in
// the config of a module may be secret: no Problem and no description quotes it.
//
// # YAML
//
// Anchors, aliases and merge keys work. A key without a value counts as absent. A file is one document of at most 1 MiB,
// and aliases may not blow it up to more than four times that.
//
// A module's config is passed on as JSON. It means what it means to Synapse: plain yes, no, on and off are booleans.
// Dates are passed on as they are written.
//
// # Concurrency
//
// A Config is plain data, and nothing here keeps a reference to it.
package config

import (
	"encoding/json"
	"net/netip"
	"time"
)

// What holds where the file says nothing.
const (
	DefaultNATSListen = "127.0.0.1:4222"
	DefaultHTTPListen = "127.0.0.1:8010"
	DefaultWorkers    = 1
	DefaultTimeout    = time.Second
	DefaultBudget     = 5 * time.Second
)

// DefaultBreaker holds where the file says nothing.
var DefaultBreaker = Breaker{Failures: 5, Open: 5 * time.Second}

// Everything is what [Config.Sequential] says instead of the names of all callbacks.
const Everything = "*"

// Catalogue tells which callbacks there are.
type Catalogue interface {
	// Find returns the full name, category.callback, of the callback with that name.
	Find(name string) (full string, ok bool)

	// CanRefuse reports whether on_failure may be refuse for the callback with that full name.
	CanRefuse(full string) bool

	// KnowsOrigin reports whether on_failure may tell local from federated for the callback with that full name.
	KnowsOrigin(full string) bool

	// Speculative reports whether modules may be asked the callback with that full name though their answers turn out not
	// to matter: it has no side effects.
	Speculative(full string) bool

	// Names returns the names that Find knows, to suggest one.
	Names() []string

	// Scopes returns the scopes of the Module API that can be granted.
	Scopes() []string
}

// Config is a busd.yaml as understood, with all defaults filled in. The paths of files in it start from the folder in
// which the configuration file is, unless they are absolute.
type Config struct {
	// ServerName is the homeserver's, as it stands in user IDs. Never empty.
	ServerName string

	// NATS is where the bus is.
	NATS NATS

	// HTTP is the door for whoever asks over HTTP.
	HTTP HTTP

	// Homeserver is where Module API calls go.
	Homeserver Homeserver

	// Modules are the operator's, in the operator's order.
	Modules []Module

	// Budget bounds one ask of all modules. Default 5s.
	Budget time.Duration

	// Sequential names, in order, the callbacks whose modules are asked one after the other although all of them may be
	// asked at once; or [Everything]. Default none.
	Sequential []string
}

// NATS says which NATS to use: an embedded server if Listen is set, else the external one at URL.
type NATS struct {
	// Listen is the address of the embedded server, port 0 or -1 for any free one. Empty if URL is set.
	// Default 127.0.0.1:4222.
	Listen string

	// URL names the servers of an external cluster, separated by commas. Default none.
	URL string

	// Credentials is the path of a NATS credentials file. Default none.
	Credentials string

	// StoreDir is the folder in which the embedded server keeps modules' stores. Default none: they go with busd.
	StoreDir string

	// TLS is used towards the external cluster, or by the embedded server.
	TLS TLS
}

// TLS holds paths of PEM files. Cert and Key are both set or both empty.
type TLS struct{ CA, Cert, Key string }

// HTTP is the HTTP door.
type HTTP struct {
	// Listen is the address. Default 127.0.0.1:8010.
	Listen string

	// TokenFile is the path of the file with the token that callers show. It is set unless Listen is loopback.
	TokenFile string

	// TrustedProxies say themselves where a request for a web resource comes from. Default none.
	TrustedProxies []netip.Prefix
}

// Homeserver is where Module API calls go when the homeserver is not a Go program.
type Homeserver struct {
	// URL is the base URL, without a slash at its end. Default none: there are no Module API calls over HTTP.
	URL string

	// TokenFile is the path of the file with the token to show there. Default none.
	TokenFile string
}

// Module is one entry of the operator's list.
type Module struct {
	// Name is unique in the list: printable, without spaces, at most 128 bytes. It may be a Python class path.
	Name string

	// Run is the program that busd starts and supervises, and its arguments. Default none: the module joins by itself.
	Run []string

	// Workers is how many of Run there are. Default 1.
	Workers int

	// Config is what the module's ParseConfig gets: JSON, in the order of the file. Default {}, which also stands for
	// null, false, 0 and whatever is empty, as in Synapse.
	Config json.RawMessage

	// Timeout bounds each callback that Callbacks does not mention. Default 1s.
	Timeout time.Duration

	// OnFailure holds for each callback that Callbacks does not mention. Default nil: the callback's own.
	OnFailure *Policy

	// Hedge is after which time without an answer a second worker is asked, too. Default 0: never.
	Hedge time.Duration

	// Breaker holds for each callback that Callbacks does not mention. Default [DefaultBreaker].
	Breaker Breaker

	// Grants are the scopes of the Module API that the module has beside those that each has. Default none.
	Grants []string

	// Callbacks holds what differs, by the callback's full name. Default nil.
	Callbacks map[string]Override
}

// Override is what the operator wants of one module for one callback.
type Override struct {
	// Timeout bounds the callback. Default 0: the module's.
	Timeout time.Duration

	// OnFailure is the policy for the callback. Default nil: the module's.
	OnFailure *Policy

	// Hedge is that of the callback, which is [Catalogue.Speculative] unless it is 0. Default nil: the module's.
	Hedge *time.Duration

	// Breaker is that of the callback. Default nil: the module's.
	Breaker *Breaker
}

// Breaker says when a module that does not answer in time is left alone. The zero Breaker never does.
type Breaker struct {
	// Failures is how many timeouts in a row it takes. Default 5.
	Failures int

	// Open is how long the module is then not asked. Default 5s.
	Open time.Duration
}

// TimeoutOf returns what bounds the callback with that full name.
func (m *Module) TimeoutOf(full string) time.Duration {
	if timeout := m.Callbacks[full].Timeout; timeout != 0 {
		return timeout
	}
	return m.Timeout
}

// HedgeOf returns after which time a second worker is asked, too, 0 for never. What the operator said of the module as a
// whole is left out where asking twice could do something twice, or would come too late.
func (m *Module) HedgeOf(full string, catalogue Catalogue) time.Duration {
	hedge := m.Hedge
	if of := m.Callbacks[full].Hedge; of != nil {
		hedge = *of
	}
	if !catalogue.Speculative(full) || hedge >= m.TimeoutOf(full) {
		return 0
	}
	return hedge
}

// BreakerOf returns when the module is left alone with the callback with that full name.
func (m *Module) BreakerOf(full string) Breaker {
	if of := m.Callbacks[full].Breaker; of != nil {
		return *of
	}
	return m.Breaker
}

// PolicyOf returns the policy for the callback with that full name. What the operator said of the module as a whole is
// left out where it cannot hold: refuse where nothing can be refused, and a difference of origins where none is known.
// What is left out is [Unset].
func (m *Module) PolicyOf(full string, catalogue Catalogue) Policy {
	p := m.Callbacks[full].OnFailure.or(m.OnFailure.or(Policy{}))
	if p.Local != p.Federated && !catalogue.KnowsOrigin(full) {
		return Policy{}
	}
	if catalogue.CanRefuse(full) {
		return p
	}
	return Policy{p.Local.unless(Refuse), p.Federated.unless(Refuse)}
}
