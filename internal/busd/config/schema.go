package config

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/modulebus/modulebus/subjects"
)

// schema knows the keys of busd.yaml.
type schema struct {
	folder string // where relative paths start
}

func (s schema) config(v value, c *Config) {
	if v.tag() != tagMap {
		v.fail("the file must be a mapping with server_name and modules in it, not %s", v.typeName())
		return
	}
	c.NATS.Listen, c.HTTP.Listen = DefaultNATSListen, DefaultHTTPListen
	found := v.fields(
		field{"server_name", text(&c.ServerName, serverName)},
		field{"nats", func(v value) { s.nats(v, &c.NATS) }},
		field{"http", func(v value) { s.http(v, &c.HTTP) }},
		field{"homeserver", func(v value) { s.homeserver(v, &c.Homeserver) }},
		field{"modules", func(v value) { c.Modules = s.modules(v) }},
		field{"budget", duration(&c.Budget)},
		field{"evaluate", func(v value) { c.Sequential = s.evaluate(v) }},
	)
	if !found.has("server_name") {
		v.named("server_name", v.node).fail("is missing (it is what follows the colon in user IDs, such as example.com)")
	}
}

func (s schema) nats(v value, n *NATS) {
	found := v.fields(
		field{"listen", text(&n.Listen, listenAddress(DefaultNATSListen, -1))},
		field{"url", text(&n.URL, natsURLs)},
		field{"credentials", file(&n.Credentials, s.folder)},
		field{"store_dir", file(&n.StoreDir, s.folder)},
		field{"tls", func(v value) { s.tls(v, &n.TLS) }},
	)
	if !found.has("url") {
		return
	}
	if found.has("store_dir") {
		found["store_dir"].fail("is for the embedded server, and nats.url names another (remove one of the two)")
	}
	if found.has("listen") {
		found["listen"].fail("is for the embedded server, and nats.url names another (remove one of the two)")
	}
	n.Listen = ""
}

func (s schema) tls(v value, t *TLS) {
	found := v.fields(
		field{"ca", file(&t.CA, s.folder)},
		field{"cert", file(&t.Cert, s.folder)},
		field{"key", file(&t.Key, s.folder)},
	)
	if found.has("cert") != found.has("key") {
		v.fail("has one of cert and key (they go together)")
	}
}

func (s schema) http(v value, h *HTTP) {
	found := v.fields(
		field{"listen", text(&h.Listen, listenAddress(DefaultHTTPListen, 0))},
		field{"token_file", file(&h.TokenFile, s.folder)},
		field{"trusted_proxies", networks(&h.TrustedProxies)},
	)
	if !found.has("token_file") && !loopback(h.Listen) {
		v.named("token_file", found["listen"].node).fail(
			"is missing, and other machines reach %s (name a file that holds a token, or listen on 127.0.0.1)", h.Listen)
	}
}

func (s schema) homeserver(v value, h *Homeserver) {
	v.fields(
		field{"url", text(&h.URL, httpURL)},
		field{"token_file", file(&h.TokenFile, s.folder)},
	)
	h.URL = strings.TrimRight(h.URL, "/")
}

func (s schema) modules(v value) []Module {
	var modules []Module
	first := map[string]value{}
	for _, item := range v.items() {
		m, name := s.module(item)
		if other, twice := first[m.Name]; twice {
			name.fail("%s is %s already (a module is listed once)", quote(m.Name), other.path())
		} else if m.Name != "" {
			first[m.Name] = item
		}
		modules = append(modules, m)
	}
	return modules
}

// module reads an entry, and returns also where its name is.
func (s schema) module(v value) (m Module, name value) {
	m = Module{
		Workers: DefaultWorkers, Config: json.RawMessage("{}"), Timeout: DefaultTimeout, Breaker: DefaultBreaker,
	}
	hedge, breaker := &m.Hedge, &m.Breaker
	found := v.fields(
		field{"module", text(&m.Name, moduleName)},
		field{"run", arguments(&m.Run)},
		field{"workers", positive(&m.Workers)},
		field{"config", func(v value) { m.Config = v.config() }},
		field{"timeout", duration(&m.Timeout)},
		field{"on_failure", s.policy(&m.OnFailure, nil)},
		field{"hedge", s.hedge(&hedge, nil)},
		field{"breaker", breakerOf(&breaker)},
		field{"grants", s.grants(&m.Grants)},
		field{"callbacks", func(value) {}}, // Read when the module's own timeout is.
	)
	m.Hedge, m.Breaker = *hedge, *breaker
	found.checkHedge(m.Hedge, m.Timeout)
	if found.has("callbacks") {
		m.Callbacks = s.callbacks(found["callbacks"], m.Timeout)
	}
	if !found.has("module") && v.tag() == tagMap {
		v.named("module", v.node).fail("is missing (the name of the module)")
	}
	if found.has("workers") && !found.has("run") {
		found["workers"].fail("is for what busd runs itself (add run, or remove workers)")
	}
	return m, found["module"]
}

// grants reads scopes of the Module API.
func (s schema) grants(dst *[]string) func(value) {
	return func(v value) {
		for _, item := range v.items() {
			var scope string
			text(&scope, s.scope)(item)
			*dst = append(*dst, scope)
		}
	}
}

// scope says what is wrong with a scope.
func (s schema) scope(name string) string {
	known := subjects.Scopes()
	if slices.Contains(known, name) {
		return ""
	}
	return quote(name) + " is no scope of the Module API (" + didYouMean(name, known, "known here: "+strings.Join(known, ", ")) + ")"
}

func (s schema) callbacks(v value, timeout time.Duration) map[string]Override {
	overrides := map[string]Override{}
	s.byCallback(v, func(d *subjects.Declaration, p pair) { overrides[d.FullName()] = s.override(p.value, d, timeout) })
	return overrides
}

// byCallback reads a mapping whose keys are callbacks.
func (s schema) byCallback(v value, read func(d *subjects.Declaration, p pair)) {
	given := map[string]bool{}
	for _, p := range v.mapping() {
		d, ok := subjects.Find(p.name)
		if !ok {
			p.key.fail("is not a callback (%s)", didYouMean(p.name, callbackNames(), "busd callbacks lists them"))
			continue
		}
		full := d.FullName()
		if given[full] {
			p.key.fail("is %s, which is given already", full)
		}
		given[full] = true
		read(d, p)
	}
}

// override reads what differs from the module, whose timeout is given.
func (s schema) override(v value, d *subjects.Declaration, timeout time.Duration) (o Override) {
	if v.null() {
		return o
	}
	found := v.fields(
		field{"timeout", duration(&o.Timeout)},
		field{"on_failure", s.policy(&o.OnFailure, d)},
		field{"hedge", s.hedge(&o.Hedge, d)},
		field{"breaker", breakerOf(&o.Breaker)},
	)
	if o.Hedge != nil {
		found.checkHedge(*o.Hedge, cmp.Or(o.Timeout, timeout))
	}
	return o
}

// off is what switches a thing off.
const off = "off"

func (v value) off() bool { return v.tag() == tagText && v.node.Value == off }

// hedge reads hedge of the callback, or of a whole module if of is nil.
func (s schema) hedge(dst **time.Duration, of *subjects.Declaration) func(value) {
	return func(v value) {
		d := new(time.Duration)
		switch {
		case v.off():
		case of != nil && !of.Options.GetSpeculative():
			v.fail("cannot be: asking %s twice may do something twice (remove it, or write off)", of.FullName())
			return
		default:
			duration(d)(v)
		}
		*dst = d
	}
}

// checkHedge reports a second request that would never be sent.
func (o object) checkHedge(hedge, timeout time.Duration) {
	if o.has("hedge") && hedge >= timeout {
		o["hedge"].fail("must be less than the timeout, which is %s", describeTime(timeout))
	}
}

func breakerOf(dst **Breaker) func(value) {
	return func(v value) {
		b := DefaultBreaker
		switch {
		case v.off():
			b = Breaker{}
		case v.tag() != tagMap:
			v.fail("must be off or a mapping (try {failures: 5, open: 5s})")
			return
		default:
			v.fields(field{"failures", positive(&b.Failures)}, field{"open", duration(&b.Open)})
		}
		*dst = &b
	}
}

// evaluations are how the modules of a callback are asked. The first is the default.
var evaluations = []string{"speculative", "sequential"}

// evaluate returns what is evaluated sequentially.
func (s schema) evaluate(v value) (sequential []string) {
	if v.tag() != tagMap {
		if v.sequential() {
			return []string{Everything}
		}
		return nil
	}
	s.byCallback(v, func(d *subjects.Declaration, p pair) {
		switch {
		case p.value.null():
		case !d.Options.GetSpeculative():
			p.key.fail("cannot be: %s is never evaluated speculatively (remove it)", d.FullName())
		case p.value.sequential():
			sequential = append(sequential, d.FullName())
		}
	})
	slices.Sort(sequential)
	return slices.Compact(sequential)
}

func (v value) sequential() bool {
	var how string
	text(&how, func(s string) string {
		if slices.Contains(evaluations, s) {
			return ""
		}
		return quote(s) + " is not known (" + didYouMean(s, evaluations, strings.Join(evaluations, " or ")) + ")"
	})(v)
	return how == evaluations[1]
}

// policy reads on_failure of the callback, or of a whole module if of is nil.
func (s schema) policy(dst **Policy, of *subjects.Declaration) func(value) {
	return func(v value) {
		p := &Policy{}
		switch {
		case v.tag() != tagMap:
			s.action(&p.Local, of)(v)
			p.Federated = p.Local
		case of != nil && !of.KnowsOrigin():
			v.fail("must be skip, refuse or fail: %s does not tell local from federated", of.FullName())
		default:
			v.fields(field{"local", s.action(&p.Local, of)}, field{"federated", s.action(&p.Federated, of)})
		}
		*dst = p
	}
}

func (s schema) action(dst *Action, of *subjects.Declaration) func(value) {
	return func(v value) {
		text(new(string), func(name string) string { return s.parseAction(dst, of, name) })(v)
	}
}

func (s schema) parseAction(dst *Action, of *subjects.Declaration, name string) (wrong string) {
	known := false
	*dst, known = actions[name]
	switch {
	case !known:
		return quote(name) + " is not known (" + didYouMean(name, slices.Sorted(maps.Keys(actions)), "skip, refuse or fail") + ")"
	case *dst == Refuse && of != nil && !of.CanRefuse():
		return of.FullName() + " cannot be refused (skip or fail)"
	}
	return ""
}

// callbackNames are what can be written for a callback.
func callbackNames() (names []string) {
	for _, d := range subjects.All() {
		names = append(names, d.Name)
	}
	return names
}
