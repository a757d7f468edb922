// Package access decides what a request at busd's HTTP door may do. No other package does: the handler of each of
// busd's own paths names the scope that it needs, and asks this package.
//
//	guard, err := access.NewGuard(config.HTTP, log)
//	…
//	if denial := guard.Denies(r, access.Read); denial != nil {
//		return denial // a Matrix error: 401 or 403
//	}
//
// A token is a line in a file. Files are read again when they change, so that tokens are replaced while busd runs.
package access

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/renewed"
	"github.com/modulebus/modulebus/internal/proxied"
	"github.com/modulebus/modulebus/matrix"
)

// Scope is what a request needs, or a token gives: a set of bits.
type Scope uint8

const (
	// Public needs no token.
	Public Scope = 0

	// Ask is for homeservers: asking, and hearing what is wanted.
	Ask Scope = 1 << (iota - 1)

	// Read is for dashboards and people who look: modules, metrics, and what was asked and decided.
	Read

	// Change is for what else operators do, such as restarting a module.
	Change

	// Admin is everything.
	Admin = Ask | Read | Change
)

// scopes are the scopes by their names in the configuration.
var scopes = map[string]Scope{config.ScopeAsk: Ask, config.ScopeRead: Read, config.ScopeAdmin: Admin}

// String names the scopes of tokens that give s.
func (s Scope) String() string {
	switch {
	case s&Change != 0:
		return config.ScopeAdmin
	case s == Ask|Read:
		return config.ScopeAsk + ", " + config.ScopeRead
	case s == Read:
		return config.ScopeRead
	}
	return config.ScopeAsk
}

// Denial is why a request may not do what it wants to. Its text holds no token.
type Denial = matrix.Error

// Guard knows the tokens. Its methods may be called concurrently.
type Guard struct {
	log      zerolog.Logger
	domain   string // the homeserver's, without a port
	state    atomic.Pointer[state]
	sessions sessions
}

// state is what the configuration says.
type state struct {
	keys    []*renewed.Value[key]
	local   bool           // the door listens on loopback, so only this machine reaches it
	proxies []netip.Prefix // whose X-Forwarded-For says where a request comes from
}

// key is a token's digest, and the scopes that it gives.
type key struct {
	digest [sha256.Size]byte
	scope  Scope
}

// NewGuard reads the files of all tokens, for the busd of a homeserver. An error names the key of the configuration and what to do.
func NewGuard(serverName string, c config.HTTP, log zerolog.Logger) (*Guard, error) {
	g := &Guard{log: log, domain: hostname(serverName), sessions: newSessions()}
	return g, g.Configure(c)
}

// Configure replaces the tokens. After an error, the earlier ones stay.
func (g *Guard) Configure(c config.HTTP) error {
	s := &state{local: c.Local(), proxies: c.TrustedProxies}
	for _, t := range c.AllTokens() {
		k, err := openKey(t, g.log)
		if err != nil {
			return err
		}
		s.keys = append(s.keys, k)
	}
	g.state.Store(s)
	return nil
}

func openKey(t config.Token, log zerolog.Logger) (*renewed.Value[key], error) {
	return renewed.Open(log, func() (key, error) {
		token, err := config.ReadToken(t.File, "a long random token")
		if err != nil {
			return key{}, fmt.Errorf("%s: %w", t.Key, err)
		}
		k, err := parseKey(token)
		if err != nil {
			return key{}, fmt.Errorf("%s: %s %w", t.Key, t.File, err)
		}
		for _, name := range t.Scopes {
			k.scope |= scopes[name]
		}
		return k, nil
	}, t.File)
}

// hashed is the prefix of a file that holds the SHA-256 of a token instead of the token, in hexadecimal, so that
// reading the file does not give access.
const hashed = "sha256:"

func parseKey(token []byte) (k key, err error) {
	text, ok := bytes.CutPrefix(token, []byte(hashed))
	if !ok {
		return key{digest: sha256.Sum256(token)}, nil
	}
	if n, err := hex.Decode(k.digest[:], text[:min(len(text), 2*sha256.Size)]); err != nil || n != sha256.Size || len(text) != 2*sha256.Size {
		return key{}, fmt.Errorf("begins with %s, and no SHA-256 follows: write the 64 digits that `printf %%s TOKEN | sha256sum` prints", hashed)
	}
	return k, nil
}

// Denies returns why a request may not do what needs the scope; nil if it may. Without tokens, every request to one of
// this machine's own names may do everything: the configuration allows that on loopback only.
func (g *Guard) Denies(r *http.Request, need Scope) *Denial {
	s := g.state.Load()
	switch {
	case need == Public:
		return nil
	case len(s.keys) == 0:
		return g.stranger(r)
	}
	token, ok := g.shown(r, need)
	if !ok {
		text := "send Authorization: Bearer with a token that busd's configuration names"
		return &Denial{Status: http.StatusUnauthorized, Errcode: "M_MISSING_TOKEN", Text: text}
	}
	return s.lacks(sha256.Sum256([]byte(token)), need)
}

// lacks returns why the token with the digest does not give the needed scope; nil if it does.
func (s *state) lacks(token [sha256.Size]byte, need Scope) *Denial {
	has := s.scopeOf(token)
	switch {
	case has == Public:
		text := "this is not the token of http.token_file, nor one of http.tokens"
		return &Denial{Status: http.StatusUnauthorized, Errcode: "M_UNKNOWN_TOKEN", Text: text}
	case has&need != need:
		text := fmt.Sprintf("this token has the scope %v, and this needs %v: see http.tokens", has, need)
		return &Denial{Status: http.StatusForbidden, Errcode: matrix.Forbidden, Text: text}
	}
	return nil
}

// DeniesDetails is Denies for metrics and the state of modules. On loopback they are open even if there are tokens, for
// monitoring on the same machine.
func (g *Guard) DeniesDetails(r *http.Request) *Denial {
	if g.state.Load().local && g.stranger(r) == nil {
		return nil
	}
	return g.Denies(r, Read)
}

// scopeOf returns what a token gives; [Public] for an unknown token. It takes the same time for every token.
func (s *state) scopeOf(token [sha256.Size]byte) (found Scope) {
	for _, value := range s.keys {
		k := value.Value()
		equal := subtle.ConstantTimeCompare(token[:], k.digest[:])
		found |= Scope(subtle.ConstantTimeSelect(equal, int(k.scope), int(Public)))
	}
	return found
}

// origin returns the address that tries to sign in: the visitor that a trusted proxy names, or else the address that connects.
func (s *state) origin(r *http.Request) netip.Addr {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil { // Connections without an IP address share a count.
		return netip.Addr{}
	}
	from, _ = proxied.Origin(from, strings.FieldsFunc(strings.Join(r.Header.Values("X-Forwarded-For"), ","), separates), s.proxies)
	return from.Addr()
}

// shown returns the token of a request. People with a browser may give it as the password that the browser asks for
// (RFC 7617). A password counts for reading only, and for no script but the page's own, because a browser also sends it
// with requests that another page causes.
func (g *Guard) shown(r *http.Request, need Scope) (token string, ok bool) {
	if _, password, basic := r.BasicAuth(); basic && need == Read && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		return password, !g.scripted(r)
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return token, ok && strings.EqualFold(scheme, "Bearer")
}

// Challenge adds the header that says how to show a token, for a response of status 401 to a request that needs the
// scope. A browser that could not sign in is not asked for a password either: it would send that with each request of a script, too.
func (g *Guard) Challenge(h http.Header, r *http.Request, need Scope) {
	h.Add("WWW-Authenticate", "Bearer")
	if need == Read && g.DeniesSignIn(r) == nil {
		h.Add("WWW-Authenticate", `Basic realm="busd: any name, and a token for the password"`)
	}
}
