package webpath

// Prefix is a path that no module can have, with all below it. Only this package makes one.
type Prefix struct{ path, owner string }

const (
	synapse = "Synapse"
	busd    = "busd"
	matrix  = "the Matrix specification"
)

var (
	spec      = Prefix{"/_matrix", matrix}
	wellKnown = Prefix{"/.well-known/matrix", matrix}
)

// Paths of busd's own. Each route of a front door lies in one of them: so what busd serves, what modules cannot register and what
// the bridge in Synapse does not pass on follow from one list.
var (
	Root         = Prefix{"/", busd} // itself alone
	Bus          = Prefix{"/_modulebus", busd}
	Meowlnir     = Prefix{"/_meowlnir/antispam", busd}
	Draupnir     = Prefix{"/api/1/spam_check", busd}
	Healthz      = Prefix{"/healthz", busd}
	Readyz       = Prefix{"/readyz", busd}
	Metrics      = Prefix{"/metrics", busd}
	PolicyServer = spec.below("/policy")
	PolicyKey    = wellKnown.below("/policy_server")
)

// reserved are the paths that modules cannot have: the homeserver's, Synapse's and busd's own. In Synapse nothing checks this, and a
// module can take such a path over (synapse/app/homeserver.py merges resources). The bridge in Synapse has the same list: after a
// change, go generate.
var reserved = []Prefix{
	spec,
	wellKnown,
	{"/_synapse/admin", synapse},
	{"/_synapse/replication", synapse},
	{"/_synapse/mas", synapse},
	{"/_synapse/metrics", synapse},
	{"/_synapse/modulebus", "the Module API"},
	{"/_synapse/client/oidc", synapse},
	{"/_synapse/client/saml2", synapse},
	{"/_synapse/client/pick_idp", synapse},
	{"/_synapse/client/pick_username", synapse},
	{"/_synapse/client/new_user_consent", synapse},
	{"/_synapse/client/sso_register", synapse},
	{"/_synapse/client/password_reset", synapse},
	{"/_synapse/client/unsubscribe", synapse},
	{"/health", synapse},
	Bus, Meowlnir, Draupnir, Healthz, Readyz, Metrics,
}

func (p Prefix) below(rest string) Prefix { return Prefix{p.path + rest, p.owner} }

// Path is the path of what lies below the prefix; of the prefix itself, for an empty rest.
func (p Prefix) Path(rest string) string { return p.path + rest }

// Holds reports whether a path is the prefix, or lies below it. Nothing lies below [Root].
func (p Prefix) Holds(path string) bool { return path == p.path || p != Root && Below(path, p.path) }
