package webpath

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxLen is the length of a web resource's path, in bytes. Beyond: it is not registered, and the module is told.
const MaxLen = 256

const (
	synapse = "Synapse"
	busd    = "busd"
)

// reserved are paths, with all below them, that modules cannot have: they are the homeserver's, Synapse's or busd's own.
// In Synapse nothing checks this, and a module can take such a path over (synapse/app/homeserver.py merges resources). The bridge in
// Synapse has the same: after a change, go generate.
var reserved = []struct{ path, owner string }{
	{"/_matrix", "the Matrix specification"},
	{"/.well-known/matrix", "the Matrix specification"},
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
	{"/_modulebus", busd},
	{"/_meowlnir/antispam", busd},
	{"/api/1/spam_check", busd},
	{"/healthz", busd},
	{"/readyz", busd},
	{"/metrics", busd},
}

// Owner says whose a path is that modules cannot have, such as "busd"; empty for all others.
func Owner(p string) string {
	for _, r := range reserved {
		if Below(p, r.path) {
			return r.owner
		}
	}
	return ""
}

// Check returns an error that says why a module cannot register the path, or nil.
func Check(p string) error {
	switch {
	case len(p) > MaxLen:
		return fmt.Errorf("web resource path of %d bytes: at most %d are possible", len(p), MaxLen)
	case !strings.HasPrefix(p, "/") || p == "/":
		return fmt.Errorf("web resource %q: the path must begin with a slash and have a segment; use /_synapse/client/…", p)
	case path.Clean(p) != p:
		return fmt.Errorf("web resource %q: write the path as %q", p, path.Clean(p))
	case !utf8.ValidString(p):
		return fmt.Errorf("web resource %q: the path must be UTF-8", p)
	case strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("?#%", r) }):
		return fmt.Errorf("web resource %q: the path is written unescaped, without spaces and without any of ? # %%", p)
	}
	return checkReserved(p)
}

// checkReserved refuses what lies below a reserved path, and what a reserved path lies below.
func checkReserved(p string) error {
	i := slices.IndexFunc(reserved, func(r struct{ path, owner string }) bool {
		return Below(p, r.path) || Below(r.path, p)
	})
	if i < 0 {
		return nil
	}
	return fmt.Errorf("web resource %q: %s belongs to %s; use a path of your own below /_synapse/client/", p, reserved[i].path, reserved[i].owner)
}
