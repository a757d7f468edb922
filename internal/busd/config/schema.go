package config

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// schema knows the keys of busd.yaml.
type schema struct {
	catalogue Catalogue
	folder    string // where relative paths start
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
		field{"on_failure", s.policy(&m.OnFailure, "")},
		field{"hedge", s.hedge(&hedge, "")},
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
	known := s.catalogue.Scopes()
	if slices.Contains(known, name) {
		return ""
	}
	return quote(name) + " is no scope of the Module API (" + didYouMean(name, known, "known here: "+strings.Join(known, ", ")) + ")"
}

func (s schema) callbacks(v value, timeout time.Duration) map[string]Override {
	overrides := map[string]Override{}
	s.byCallback(v, func(full string, p pair) { overrides[full] = s.override(p.value, full, timeout) })
	return overrides
}

// byCallback reads a mapping whose keys are callbacks.
func (s schema) byCallback(v value, read func(full string, p pair)) {
	given := map[string]bool{}
	for _, p := range v.mapping() {
		full, ok := s.catalogue.Find(p.name)
		if !ok {
			p.key.fail("is not a callback (%s)", didYouMean(p.name, s.catalogue.Names(), "busd callbacks lists them"))
			continue
		}
		if given[full] {
			p.key.fail("is %s, which is given already", full)
		}
		given[full] = true
		read(full, p)
	}
}

// override reads what differs from the module, whose timeout is given.
func (s schema) override(v value, full string, timeout time.Duration) (o Override) {
	if v.null() {
		return o
	}
	found := v.fields(
		field{"timeout", duration(&o.Timeout)},
		field{"on_failure", s.policy(&o.OnFailure, full)},
		field{"hedge", s.hedge(&o.Hedge, full)},
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

// hedge reads hedge of the callback with that full name, or of a whole module if the name is empty.
func (s schema) hedge(dst **time.Duration, full string) func(value) {
	return func(v value) {
		d := new(time.Duration)
		switch {
		case v.off():
		case full != "" && !s.catalogue.Speculative(full):
			v.fail("cannot be: asking %s twice may do something twice (remove it, or write off)", full)
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
	s.byCallback(v, func(full string, p pair) {
		switch {
		case p.value.null():
		case !s.catalogue.Speculative(full):
			p.key.fail("cannot be: %s is never evaluated speculatively (remove it)", full)
		case p.value.sequential():
			sequential = append(sequential, full)
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

// policy reads on_failure of the callback with that full name, or of a whole module if the name is empty.
func (s schema) policy(dst **Policy, full string) func(value) {
	return func(v value) {
		p := &Policy{}
		switch {
		case v.tag() != tagMap:
			s.action(&p.Local, full)(v)
			p.Federated = p.Local
		case full != "" && !s.catalogue.KnowsOrigin(full):
			v.fail("must be skip, refuse or fail: %s does not tell local from federated", full)
		default:
			v.fields(field{"local", s.action(&p.Local, full)}, field{"federated", s.action(&p.Federated, full)})
		}
		*dst = p
	}
}

func (s schema) action(dst *Action, full string) func(value) {
	return func(v value) {
		text(new(string), func(name string) string { return s.parseAction(dst, full, name) })(v)
	}
}

func (s schema) parseAction(dst *Action, full, name string) (wrong string) {
	for a := Skip; a <= Fail; a++ {
		if actions[a] == name {
			*dst = a
		}
	}
	switch {
	case *dst == Unset:
		return quote(name) + " is not known (" + didYouMean(name, actions[Skip:], "skip, refuse or fail") + ")"
	case *dst == Refuse && full != "" && !s.catalogue.CanRefuse(full):
		return full + " cannot be refused (skip or fail)"
	}
	return ""
}
