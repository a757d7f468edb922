package config

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/modulebus/modulebus/subjects"
)

// key is one key that a mapping of busd.yaml may have. Reading, the output of `busd check` and the tables of keys in
// docs/operating.md all use the keys below.
type key struct {
	name    string
	initial string // the default, for the page and for people; in Markdown
	meaning string // for the page, in Markdown; "" for a mapping, of which the page has the keys
	slot
}

// What the page shows in place of a default.
const (
	required = "required"
	none     = "none"
)

// tokenFile is the key for a file with a token, wherever there is one.
const tokenFile = "token_file"

func fileKeys(c *Config) []key {
	return []key{
		{"server_name", required, "the homeserver's: what follows the colon in user IDs", text(&c.ServerName, serverName)},
		{
			"state_dir", "`$STATE_DIRECTORY`, else `$XDG_STATE_HOME/modulebus/<server_name>`, else `~/.local/state/modulebus/<server_name>`",
			"folder in which busd keeps what must outlive it, such as what modules registered last. One busd uses it at a time",
			path(&c.StateDir, folder),
		},
		{"nats", "", "", section(natsKeys(&c.NATS), c.NATS.check)},
		{"http", "", "", section(httpKeys(&c.HTTP), c.HTTP.check)},
		{"homeserver", "", "", section(homeserverKeys(&c.Homeserver), c.Homeserver.check)},
		{
			"policy_server", none, "busd answers as the [policy server](policy-server.md) of rooms. `{}` will do; `key_file` names the file with " +
				"its signing key, in Synapse's format, which is made if there is none; its default is `policy.key` in `state_dir`",
			policyServer(c),
		},
		{"decisions", "", "", c.Decisions.section()},
		{"modules", none, "the modules, in the order in which they are asked", modules(&c.Modules)},
		{"budget", "`5s`", "how long one ask may take, all modules together", duration(&c.Budget, least)},
		{"evaluate", "`speculative`", "`sequential` asks modules one after the other, even where they could be [asked at once](#time); " +
			"for all callbacks, or by callback", evaluate(&c.Sequential)},
	}
}

func natsKeys(n *NATS) []key {
	return []key{
		{
			"listen", "`127.0.0.1:4222`", "address of the NATS server inside busd; port 0 picks a free one",
			text(&n.Listen, listenAddress(DefaultNATSListen, -1)),
		},
		{"url", none, "an external NATS instead, or several nodes of a cluster with commas between them; then nothing is inside", urls(&n.URL, natsURLs)},
		{"credentials", none, "file with busd's credentials for it", path(&n.Credentials, secret)},
		{
			"store_dir", "in `state_dir`", "folder in which the server inside keeps what modules store. One busd uses it at a time",
			path(&n.StoreDir, folder),
		},
		{
			"max_store", "`1GiB`", "how much one module may [store](#stores), the last 8 values of each of its keys included; at least 16MiB",
			size(&n.MaxStore, 1<<50),
		},
		{"max_payload", "`1MiB`", "largest message of the server inside, up to 64MiB: it bounds questions and answers", size(&n.MaxPayload, 64<<20)},
		{
			"replicas", "`3` where there are as many", "how many servers of an external cluster keep each piece of [news](#news-that-must-arrive)",
			replicas(&n.Replicas),
		},
		{"tls", "", "", tlsSection(&n.TLS, "the system's", "authorities: for an external NATS, those that its certificate may come from; for the server inside, those that clients' certificates must come from",
			"the certificate that busd, or the server inside, shows")},
	}
}

// tlsSection is the key for TLS of a listener or a client; ca and cert are the meanings of these two keys.
func tlsSection(t *TLS, initial, ca, cert string) slot {
	return section([]key{
		{"ca", initial, "PEM file: " + ca, path(&t.CA, authorities)},
		{"cert", none, "PEM file: " + cert, path(&t.Cert, plain)},
		{"key", none, "PEM file: its key", path(&t.Key, secret)},
	}, t.check)
}

func httpKeys(h *HTTP) []key {
	return []key{
		{"listen", "`127.0.0.1:8010`", "address of the HTTP door", text(&h.Listen, listenAddress(DefaultHTTPListen, 0))},
		{
			tokenFile, none, "file with a token for everything. It or `http.tokens` is required unless `http.listen` is loopback",
			path(&h.TokenFile, token),
		},
		{
			"tokens", none, "list of tokens that give [less](#who-may-do-what): `{token_file: dashboard.token, scopes: [read]}`; scopes are " +
				"`ask`, `read` and `admin`",
			tokens(&h.Tokens),
		},
		{
			"trusted_proxies", none, "addresses and networks, such as `127.0.0.1` and `10.0.0.0/8`, of reverse proxies (and of a Synapse that " +
				"passes requests on) whose `X-Forwarded-For`, `-Host` and `-Proto` count, also for tries to sign in to the page; what anybody else sends under these names is replaced",
			networks(&h.TrustedProxies),
		},
		{"tls", "", "", tlsSection(&h.TLS, none, "authorities that clients' certificates must come from; without it, clients need no certificate", "the certificate that the door shows; with it, the door speaks TLS")},
		{"web", "", "", section(webKeys(&h.Web))},
	}
}

// webKeys are the limits of requests for modules' pages. See [bus.WebOptions].
func webKeys(w *Web) []key {
	limit := func(d *time.Duration) slot { return orOff(d, Never, duration(d, least)) }
	return []key{
		{"accept_timeout", "`2s`", "how long until a worker says that it has the request; beyond it, 504", duration(&w.AcceptTimeout, least)},
		{
			"response_timeout", "`90s`", "how long until the response begins, from when the last of the request was passed on; beyond it, 504; or `off`",
			limit(&w.ResponseTimeout),
		},
		{"idle_timeout", "`off`", "how long between two parts of a response; beyond it, it is cut. Not for server-sent events", limit(&w.IdleTimeout)},
		{"stall_timeout", "`60s`", "how long a client may take nothing of what it is sent; beyond it, it is cut; or `off`", limit(&w.StallTimeout)},
		{"total_timeout", "`off`", "how long a request may take, from its first byte to the last of the response. Not for WebSockets", limit(&w.TotalTimeout)},
		{"body_limit", "`off`", "largest body of a request, such as `50MiB`: larger ones are 413", orOff(&w.BodyLimit, 0, size(&w.BodyLimit, 1<<50))},
	}
}

func homeserverKeys(h *Homeserver) []key {
	return []key{
		{"url", none, "where calls of modules go, when the homeserver is not a Go program: `POST <url>/v1/<method>`", urls(&h.URL, httpURL)},
		{tokenFile, none, "file with the token to show there", path(&h.TokenFile, token)},
		{"tls", "", "", tlsSection(&h.TLS, "the system's", "authorities that the homeserver's certificate may come from, where `homeserver.url` is `https`", "the certificate that busd shows")},
	}
}

func decisionKeys(d *Decisions) []key {
	const usual = time.Minute
	return []key{
		{"keep", "`24h`", "how long a record stays in [the stream](#records-that-stay). There is a stream only if the file has `decisions`", duration(&d.Keep, usual)},
		{"max_bytes", "`256MiB`", "how large the stream may be; beyond that, the oldest records are deleted", size(&d.MaxBytes, 1<<50)},
		{
			"no_opinion", "`1/100`", "which part of the records in which no module said anything goes to the stream; `1/1` is all of them. " +
				"All other records always go there",
			oneIn(&d.NoOpinion),
		},
		{
			"requests", "`false`", "`true` has [records of decisions](#decisions) say what was asked and answered, too, up to 64 KiB of " +
				"each, without passwords, tokens and addresses",
			truth(&d.Requests),
		},
	}
}

// section is the mapping. Its presence has a meaning: without it, none of its keys is shown as set.
func (d *Decisions) section() slot {
	keys := decisionKeys(d)
	for i, k := range keys {
		keys[i].show = func() string {
			if !d.Stream {
				return ""
			}
			return k.show()
		}
	}
	return section(keys, d.check)
}

// check sets Stream, because the file has decisions.
func (d *Decisions) check(v value, found object) {
	const little = 1 << 20
	if d.Stream = v.tag() == tagMap; found.has("max_bytes") && d.MaxBytes < little {
		found["max_bytes"].warn("is very little: one record may have 128KiB and more")
	}
}

func moduleKeys(m *Module) []key {
	run, workers, joins := command(&m.Run), count(&m.Workers), joinTimeout(&m.JoinTimeout)
	return []key{
		{"module", required, "its name, unique in the list: at most 128 bytes, without spaces", text(&m.Name, moduleName)},
		{"run", none, "program and arguments. busd starts and watches it; without it, you start the module, and it joins by itself", run},
		{
			"antispam", none, "instead of `run`, [a server of the HTTP antispam protocol](antispam.md#a-server-as-a-module), which busd " +
				"asks: `{base_url, token_file, callbacks, async}`",
			antispamServer(m),
		},
		{"workers", "`1`", "how many processes of `run` there are", slot{read: workers.read, show: m.onlyRun(workers.show)}},
		{
			"join_timeout", "`10m`", "how long a process of `run` may take to join before it is [ended, and started again](#a-worker-that-does-not-join); or `off`",
			slot{read: joins.read, show: m.onlyRun(joins.show)},
		},
		{
			"environment", none, "names of variables of busd's environment that the processes of `run` get, too, beside [a few " +
				"that all get](#modules-that-busd-runs)",
			list(&m.Environment, variable),
		},
		{
			"config", "`{}`", "what the module gets. The module knows which keys may be in it, and refuses others; YAML means here " +
				"[what it means to Synapse](adr/0020-scalars-are-pyyamls.md)",
			settings(&m.Config),
		},
		{"timeout", "`1s`", "how long the module may take for one question, `24h` at most", answerable(&m.Timeout)},
		{"on_failure", "the callback's", "what its [failures](#failures) mean: `skip`, `refuse` or `fail`", optional(&m.OnFailure, policyOf(nil))},
		{
			"hedge", "`off`", "after which time without an answer, shorter than `timeout`, a second worker is [asked, too](#time)",
			hedge(nil, func() time.Duration { return m.Timeout })(&m.Hedge),
		},
		{
			"breaker", "`{failures: 5, open: 5s}`", "after how many timeouts in a row the module is left alone, and how long " +
				"(a part that you leave out keeps its default); or `off`",
			breaker(&m.Breaker),
		},
		{
			"grants", none, "scopes of the [Module API](module-api.md#scopes): what the module may ask of the homeserver, beside what each may",
			list(&m.Grants, scope),
		},
		{"shadow", "`false`", "`true` has the module [asked, and never counts](#trying-a-module)", truth(&m.Shadow)},
		{
			"deliver", "`at_most_once`", "`at_least_once` has [news kept](#news-that-must-arrive) until the module has handled it, of the callbacks " +
				"that are worth it",
			delivery(nil)(&m.AtLeastOnce),
		},
		{"deliver_for", "`7d`", "how long such news is delivered again; then it is given up", duration(&m.DeliverFor, least)},
		{
			"callbacks", none, "`timeout`, `on_failure`, `hedge`, `breaker`, `deliver` and `deliver_for` where they differ, by callback",
			callbacks(m),
		},
	}
}

func (m *Module) onlyRun(show func() string) func() string {
	return func() string {
		if len(m.Run) == 0 {
			return ""
		}
		return show()
	}
}

// overrideKeys are the keys of a callback in a module's list.
func overrideKeys(o *Override, d *subjects.Declaration, m *Module) []key {
	timeout := func() time.Duration { return cmp.Or(o.Timeout, m.Timeout) }
	return []key{
		{"timeout", "", "", answerable(&o.Timeout)},
		{"on_failure", "", "", optional(&o.OnFailure, policyOf(d))},
		{"hedge", "", "", optional(&o.Hedge, hedge(d, timeout))},
		{"breaker", "", "", optional(&o.Breaker, breaker)},
		{"deliver", "", "", optional(&o.AtLeastOnce, delivery(d))},
		{"deliver_for", "", "", duration(&o.DeliverFor, least)},
	}
}

// object holds the values of a mapping by key, without those that are null.
type object map[string]value

func (o object) has(key string) bool { _, ok := o[key]; return ok }

// section is a mapping with the given keys and no others. check looks at several keys together.
func section(keys []key, check ...func(value, object)) slot {
	return slot{
		read: func(v value) {
			found := v.fields(keys)
			for _, f := range check {
				f(v, found)
			}
		},
		keys: keys,
	}
}

// fields reads the mapping v, which may have the given keys and no others.
func (v value) fields(keys []key) object {
	found := object{}
	for _, p := range v.mapping() {
		if k := find(keys, p.name); k == nil {
			p.key.fail("is not a known key (%s)", DidYouMean(p.name, names(keys), "known here: "+strings.Join(names(keys), ", ")))
		} else if !p.value.null() {
			found[p.name] = p.value
			k.read(p.value)
		}
	}
	return found
}

func find(keys []key, name string) *key {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

func names(keys []key) []string {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.name
	}
	return names
}

// read reads the file as a whole.
func (c *Config) read(v value) {
	if v.tag() != tagMap {
		v.fail("the file must be a mapping with server_name and modules in it, not %s", v.typeName())
		return
	}
	if found := v.fields(fileKeys(c)); !found.has("server_name") {
		v.lacks("server_name", "(it is what follows the colon in user IDs, such as example.com)")
	}
}

func (n *NATS) check(_ value, found object) {
	const leastStore = 16 << 20 // A value may have 1 MiB, and JetStream counts eight of each key.
	if found.has("max_store") && n.MaxStore < leastStore {
		found["max_store"].fail("must be at least %s", showSize(leastStore))
	}
	if !found.has("url") {
		if found.has("replicas") {
			found["replicas"].fail("is for an external cluster, and nats.url names none (remove it: the embedded server is one)")
		}
		if n.TLS.CA != "" && n.TLS.Cert == "" {
			found["tls"].fail("has a ca and no cert (the embedded server shows its own certificate before it asks for others'; without one it speaks no TLS)")
		}
		return
	}
	for _, name := range []string{"listen", "store_dir", "max_payload"} {
		if found.has(name) {
			found[name].fail("is for the embedded server, and nats.url names another (remove one of the two)")
		}
	}
	n.Listen, n.MaxPayload = "", 0
}

func (t *TLS) check(v value, found object) {
	if found.has("cert") != found.has("key") {
		v.fail("has one of cert and key (they go together)")
		return
	}
	v.names(certified, t.Cert, t.Key)
}

func (h *HTTP) check(_ value, found object) {
	if h.TLS.CA != "" && h.TLS.Cert == "" {
		found["tls"].fail("has a ca and no cert (the door shows its own certificate before it asks for others')")
	}
	if len(h.AllTokens()) == 0 && !h.Local() {
		found["listen"].up.at(found["listen"].node, ".token_file").fail(
			"is missing, and other machines reach %s (name a file that holds a token, or listen on 127.0.0.1)", h.Listen)
	}
}

// tokens is a list of files with tokens and their scopes.
func tokens(dst *[]Token) slot {
	return slot{
		read: func(v value) {
			for _, item := range v.items() {
				t := Token{Key: item.path() + ".token_file"}
				found := item.fields(tokenKeys(&t))
				if found.has("scopes") && len(t.Scopes) == 0 {
					found["scopes"].fail("names no scope (write [read])")
				}
				for _, name := range []string{tokenFile, "scopes"} {
					if !found.has(name) && item.tag() == tagMap {
						item.lacks(name, "(write {token_file: dashboard.token, scopes: [read]})")
					}
				}
				*dst = append(*dst, t)
			}
		},
		show: func() string {
			var lines strings.Builder
			for _, t := range *dst {
				lines.WriteString("\n    - " + showFlow(tokenKeys(&t)))
			}
			return lines.String()
		},
	}
}

func tokenKeys(t *Token) []key {
	return []key{
		{tokenFile, "", "", path(&t.File, token)},
		{"scopes", "", "", list(&t.Scopes, tokenScope)},
	}
}

// tokenScope returns what is wrong with a scope of a token; empty if nothing is.
func tokenScope(name string) string {
	known := []string{ScopeAsk, ScopeRead, ScopeAdmin}
	if slices.Contains(known, name) {
		return ""
	}
	return quote(name) + " is no scope of a token (" + DidYouMean(name, known, "known here: "+strings.Join(known, ", ")) + ")"
}

// policyServer makes busd a policy server. The key counts even if its mapping is empty.
func policyServer(c *Config) slot {
	of := func(p *PolicyServer) slot {
		keys := []key{{"key_file", "", "", path(&p.KeyFile, made)}}
		return slot{
			read: func(v value) {
				v.fields(keys)
				v.finally(func() {
					if c.Homeserver.URL == "" {
						v.warn("knows no room without homeserver.url, and answers 404 for each (name there whom to ask)")
					}
				})
			},
			show: func() string { return showFlow(keys) },
		}
	}
	return optional(&c.PolicyServer, of)
}

func (h *Homeserver) check(value, object) { h.URL = strings.TrimRight(h.URL, "/") }

// modules is the operator's list.
func modules(dst *[]Module) slot {
	return slot{
		read: func(v value) {
			first := map[string]value{}
			for _, item := range v.items() {
				m, name := readModule(item)
				if other, twice := first[m.Name]; twice {
					name.fail("%s is %s already (a module is listed once)", quote(m.Name), other.path())
				} else if m.Name != "" {
					first[m.Name] = item
				}
				*dst = append(*dst, m)
				v.places = append(v.places, item.problem(item.used, ""))
			}
		},
		list: func() (entries [][]key) {
			for i := range *dst {
				entries = append(entries, moduleKeys(&(*dst)[i]))
			}
			return entries
		},
	}
}

// readModule reads an entry, and returns also where its name is.
func readModule(v value) (m Module, name value) {
	m = Module{
		Workers: DefaultWorkers, Config: json.RawMessage("{}"), Timeout: DefaultTimeout, Breaker: DefaultBreaker, DeliverFor: DefaultDeliverFor,
	}
	found := v.fields(moduleKeys(&m))
	if !found.has("module") && v.tag() == tagMap {
		v.lacks("module", "(the name of the module)")
	}
	for _, name := range []string{"workers", "join_timeout", "environment"} {
		if found.has(name) && !found.has("run") {
			found[name].fail("is for what busd runs itself (add run, or remove %s)", name)
		}
	}
	m.checkAntispam(found)
	if m.OnFailure.keepsShut() && len(m.Callbacks) == 0 {
		found["on_failure"].warn("holds for what the module has registered once: until it has joined for the first time, it is asked " +
			"nothing (name under callbacks what must not pass without it)")
	}
	return m, found["module"]
}
