// Package config reads busd.yaml: the operator's list of modules, and where busd listens.
//
//	c, err := config.Read("busd.yaml")
//	if err != nil {
//		fmt.Fprintln(os.Stderr, err) // every mistake in the file, one a line
//		os.Exit(2)
//	}
//
// # Failure
//
// Reading is strict, and complete: each mistake of a file is one [Problem] with its line, its column and its path
// inside the file, and [Errors] holds all of them. Only for text that is not YAML at all, reading ends at the first
// mistake. The config of a module may be secret: no Problem and no description quotes it.
//
// # YAML
//
// Anchors, aliases and merge keys work. A key without a value counts as absent. A file is one document of at most 1
// MiB; with its aliases followed, it may have at most four times that.
//
// A module's config is passed on as JSON. It means what it means to Synapse: plain yes, no, on and off are booleans.
// Dates are passed on as they are written.
//
// # Concurrency
//
// A Config is plain data, and nothing here keeps a reference to it.
package config

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"time"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Defaults.
const (
	DefaultNATSListen = "127.0.0.1:4222"
	DefaultHTTPListen = "127.0.0.1:8010"
	DefaultMaxPayload = 1 << 20
	DefaultMaxStore   = 1 << 30
	DefaultWorkers    = 1
	DefaultTimeout    = wire.DefaultTimeout
	DefaultBudget     = wire.DefaultBudget
	DefaultDeliverFor = 7 * day

	// DefaultJoinTimeout is long: `go run` may compile first.
	DefaultJoinTimeout = 10 * time.Minute
)

// Never is a timeout that is off.
const Never time.Duration = -1

// DefaultWeb are the defaults of [Web].
var DefaultWeb = Web{
	AcceptTimeout: 2 * time.Second, ResponseTimeout: 90 * time.Second, IdleTimeout: Never, StallTimeout: time.Minute, TotalTimeout: Never,
}

// DefaultBreaker holds where the file says nothing.
var DefaultBreaker = Breaker{Failures: wire.DefaultBreakerFailures, Open: wire.DefaultBreakerOpen}

// DefaultDecisions are the defaults of [Decisions], if the file has decisions.
var DefaultDecisions = Decisions{Keep: 24 * time.Hour, MaxBytes: 256 << 20, NoOpinion: 100}

// Everything stands in [Config.Sequential] for the names of all callbacks.
const Everything = "*"

// Config is a busd.yaml as understood, with all defaults filled in. Relative paths of files in it start from the folder
// of the configuration file.
type Config struct {
	// ServerName is the homeserver's, as in user IDs. Never empty.
	ServerName string

	// StateDir is the folder for what must outlive busd. It need not exist. It is empty only if the file names none and
	// the process has no home folder.
	StateDir string

	// NATS is where the bus is.
	NATS NATS

	// HTTP is the door for homeservers that ask over HTTP.
	HTTP HTTP

	// Homeserver is where Module API calls go.
	Homeserver Homeserver

	// PolicyServer says that busd answers as a policy server. Default nil: it does not.
	PolicyServer *PolicyServer

	// Decisions says what records of decisions contain, and where they are kept.
	Decisions Decisions

	// Modules are the operator's, in the operator's order.
	Modules []Module

	// Budget bounds one ask of all modules. Default 5s.
	Budget time.Duration

	// Sequential names, sorted, the callbacks whose modules are asked one after the other although they could be asked at
	// once; or it is [Everything]. Default none.
	Sequential []string

	// Warnings are about settings that are allowed and probably mistakes, in the order of the file.
	Warnings Errors

	named  []named
	places []Problem // of the modules, without text
}

// ProblemOf returns a problem at the place of the module with the index, for mistakes that reading did not find.
func (c *Config) ProblemOf(module int, text string) Problem {
	p := c.places[module]
	p.Text = text
	return p
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

	// StoreDir is the folder in which the embedded server keeps modules' stores. Default empty: one in StateDir.
	StoreDir string

	// MaxPayload is the largest message of the embedded server, in bytes. 0 if URL is set. Default 1 MiB.
	MaxPayload int64

	// MaxStore is how much one module may store, in bytes: at least 16 MiB. Default 1 GiB.
	MaxStore int64

	// Replicas is how many servers of an external cluster keep each piece of news. Default 0: three if there are that
	// many, otherwise one.
	Replicas int

	// TLS is used towards the external cluster, or by the embedded server.
	TLS TLS
}

// TLS holds paths of PEM files. Cert and Key are both set or both empty.
type TLS struct{ CA, Cert, Key string }

// HTTP is the HTTP door.
type HTTP struct {
	// Listen is the address. Default 127.0.0.1:8010.
	Listen string

	// TokenFile is the path of the file with a token for everything. Unless Listen is loopback, it or Tokens must be set.
	TokenFile string

	// Tokens are tokens that give less. Default none.
	Tokens []Token

	// TLS makes the door use TLS, if it has a Cert, and demand clients' certificates, if it has a CA.
	TLS TLS

	// TrustedProxies are the proxies whose word is taken for where a request for a web resource comes from. Default none.
	TrustedProxies []netip.Prefix

	// Web bounds requests for modules' web resources. Default [DefaultWeb].
	Web Web
}

// What a token of the HTTP door may be for.
const (
	ScopeAsk   = "ask"   // asking, and hearing what is wanted
	ScopeRead  = "read"  // modules, metrics, and what was asked and decided
	ScopeAdmin = "admin" // everything
)

// Token lets callers in at the HTTP door.
type Token struct {
	// File is the path of the file that holds it.
	File string

	// Scopes are the scopes that it gives. Never empty.
	Scopes []string

	// Key is the configuration's key for the file, for messages.
	Key string
}

// AllTokens returns Tokens and the one of TokenFile.
func (h *HTTP) AllTokens() []Token {
	if h.TokenFile == "" {
		return h.Tokens
	}
	return append([]Token{{h.TokenFile, []string{ScopeAdmin}, "http.token_file"}}, h.Tokens...)
}

// TokenFileFor returns the first file with a token that gives the scope; empty if there is none.
func (h *HTTP) TokenFileFor(scope string) string {
	for _, t := range h.AllTokens() {
		if slices.Contains(t.Scopes, scope) || slices.Contains(t.Scopes, ScopeAdmin) {
			return t.File
		}
	}
	return ""
}

// Local reports whether only this machine reaches the door.
func (h *HTTP) Local() bool { return loopback(h.Listen) }

// Web bounds requests for modules' web resources. [Never] is a timeout that is off. The fields mean what those of the
// same names in the bus package's options do.
type Web struct {
	AcceptTimeout, ResponseTimeout, IdleTimeout, StallTimeout, TotalTimeout time.Duration

	// BodyLimit is the largest body of a request in bytes. 0 is any size.
	BodyLimit int64
}

// Homeserver is where Module API calls go when the homeserver is not a Go program.
type Homeserver struct {
	// URL is the base URL, without a slash at its end. Default none: there are no Module API calls over HTTP.
	URL string

	// TokenFile is the path of the file with the token to show there. Default none.
	TokenFile string

	// TLS is used where URL is https.
	TLS TLS
}

// PolicyServer configures busd as the policy server of rooms.
type PolicyServer struct {
	// KeyFile is the path of the file with the signing key, which need not exist. Default policy.key in StateDir; empty
	// only without a StateDir.
	KeyFile string
}

// Decisions says what records of decisions contain, and where they are kept besides the memory.
type Decisions struct {
	// Stream tells that records are also written to JetStream, as the fields below say. It is true if the file has
	// decisions at all.
	Stream bool

	// Keep is how old a record in the stream may be. Beyond: it is removed. Default 24h.
	Keep time.Duration

	// MaxBytes is how large the stream may be. Beyond: the oldest records are removed. Default 256 MiB.
	MaxBytes int64

	// NoOpinion is n if one of n records without any opinion goes to the stream. Default 100.
	NoOpinion int

	// Requests makes records contain requests and answers, without the secrets in them. Default false.
	Requests bool
}

// Module is one entry of the operator's list.
type Module struct {
	// Name is unique in the list: printable, without spaces, at most 128 bytes. It may be a Python class path.
	Name string

	// Run is the program that busd starts and supervises, and its arguments. Default none: the module joins by itself.
	Run []string

	// Antispam makes an antispam server the module, instead of a program. Default none.
	Antispam Antispam

	// Workers is how many processes of Run there are. Default 1.
	Workers int

	// JoinTimeout is how long a process of Run may take to join before it is ended, and started again. Default 0:
	// [DefaultJoinTimeout]. [Never] is off.
	JoinTimeout time.Duration

	// Environment names the variables of busd's environment that processes of Run get, besides those that every process
	// gets. Default none.
	Environment []string

	// Config is the JSON that the module's ParseConfig gets, in the order of the file. Default {}, which also replaces
	// null, false, 0 and every empty value, as in Synapse.
	Config json.RawMessage

	// Timeout bounds each callback that Callbacks does not mention. Default 1s.
	Timeout time.Duration

	// OnFailure holds for each callback that Callbacks does not mention. Default nil: the callback's own.
	OnFailure *Policy

	// Hedge is the time without an answer after which a second worker is asked, too. Default 0: never.
	Hedge time.Duration

	// Breaker holds for each callback that Callbacks does not mention. Default [DefaultBreaker].
	Breaker Breaker

	// AtLeastOnce makes news be stored for the module and delivered until it is handled: the news of callbacks that are
	// declared to be worth it, unless Callbacks says otherwise. Default false. It has no effect in shadow.
	AtLeastOnce bool

	// DeliverFor is how long news is delivered again, counted from when it was stored. Default 7 days.
	DeliverFor time.Duration

	// Grants are the scopes of the Module API that the module has besides those that every module has. Default none.
	Grants []string

	// Shadow makes the module be asked without its answers counting: callbacks without side effects, and those that
	// Callbacks names. Default false.
	Shadow bool

	// Callbacks holds settings of single callbacks, by full name. Default nil.
	Callbacks map[string]Override
}

// InBusd reports whether busd itself is, or starts, the module's workers.
func (m *Module) InBusd() bool { return len(m.Run) > 0 || m.Antispam.BaseURL != "" }

// Antispam is a server of the HTTP antispam protocol. An empty BaseURL means none.
type Antispam struct {
	// BaseURL is the URL to which a slash and a callback's name are appended.
	BaseURL string

	// TokenFile is the path of the file with the token to show there. Default none.
	TokenFile string

	// Callbacks are the names of the callbacks that the server is asked. Never empty.
	Callbacks []string

	// Async are those of Callbacks that the server is told of without waiting for its answer. Default none.
	Async []string
}

// Override holds the operator's settings of one module for one callback.
type Override struct {
	// Timeout bounds the callback. Default 0: the module's.
	Timeout time.Duration

	// OnFailure is the policy for the callback. Default nil: the module's.
	OnFailure *Policy

	// Hedge is the callback's; it is 0 unless the callback is speculative. Default nil: the module's.
	Hedge *time.Duration

	// Breaker is the callback's. Default nil: the module's.
	Breaker *Breaker

	// AtLeastOnce is whether the news of the callback is stored and delivered until it is handled. Default nil: the
	// module's.
	AtLeastOnce *bool

	// DeliverFor is how long news is delivered again. Default 0: the module's.
	DeliverFor time.Duration
}

// Breaker says when a module that does not answer in time is not asked for a while. The zero Breaker means never.
type Breaker struct {
	// Failures is how many timeouts in a row it takes. Default 5.
	Failures int

	// Open is how long the module is then not asked. Default 5s.
	Open time.Duration
}

// Terms are the settings for one module and one callback, with every default filled in.
type Terms struct {
	// Timeout bounds one question. Never 0.
	Timeout time.Duration

	// OnFailure is the policy for requests of local users, or without a user. Never unspecified.
	OnFailure callbacksv1.OnFailure

	// OnFailureFederated is the policy for requests from other servers. Never unspecified.
	OnFailureFederated callbacksv1.OnFailure

	// OnFailurePolicy is the policy for events that the policy server is asked about. Never unspecified.
	OnFailurePolicy callbacksv1.OnFailure

	// Hedge is the time after which a second worker is asked too. 0: never.
	Hedge time.Duration

	// Breaker says when the module is not asked for a while.
	Breaker Breaker

	// AtLeastOnce is whether news is stored, and delivered until it is handled.
	AtLeastOnce bool

	// DeliverFor is how long news is delivered again. Never 0.
	DeliverFor time.Duration
}

// KeepsNews reports whether any news is stored for the module.
func (m *Module) KeepsNews() bool {
	return slices.ContainsFunc(subjects.All(), func(d *subjects.Declaration) bool { return m.TermsOf(d).AtLeastOnce })
}

// TermsOf returns the settings for the callback. A setting of the whole module that cannot apply to the callback is
// left out: refuse, if the callback has no refusal; a policy by origin, if its requests have none; and a hedge, if
// asking twice could act twice or would come after the timeout.
func (m *Module) TermsOf(d *subjects.Declaration) Terms {
	o := m.Callbacks[d.FullName()]
	t := Terms{Timeout: cmp.Or(o.Timeout, m.Timeout), Hedge: m.Hedge, Breaker: m.Breaker, DeliverFor: cmp.Or(o.DeliverFor, m.DeliverFor)}
	if o.Hedge != nil {
		t.Hedge = *o.Hedge
	}
	if !d.Options.GetSpeculative() || t.Hedge >= t.Timeout {
		t.Hedge = 0
	}
	if o.Breaker != nil {
		t.Breaker = *o.Breaker
	}
	if t.AtLeastOnce = m.AtLeastOnce && d.Options.GetAtLeastOnce(); o.AtLeastOnce != nil {
		t.AtLeastOnce = *o.AtLeastOnce
	}
	t.AtLeastOnce = t.AtLeastOnce && !m.Shadow
	p := m.policyOf(d)
	t.OnFailure = cmp.Or(p.Local, d.Options.GetOnFailure())
	t.OnFailureFederated = cmp.Or(p.Federated, d.Options.GetOnFailureFederated(), t.OnFailure)
	t.OnFailurePolicy = cmp.Or(p.PolicyServer, t.OnFailureFederated)
	return t
}

// policyOf returns the operator's policy, as far as it can apply to the callback.
func (m *Module) policyOf(d *subjects.Declaration) Policy {
	p := m.Callbacks[d.FullName()].OnFailure.or(m.OnFailure.or(Policy{}))
	switch {
	case p.differs() && !d.KnowsOrigin():
		return Policy{}
	case d.CanRefuse():
		return p
	}
	return Policy{unless(p.Local, Refuse), unless(p.Federated, Refuse), unless(p.PolicyServer, Refuse)}
}
