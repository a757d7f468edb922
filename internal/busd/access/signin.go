package access

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/modulebus/modulebus/matrix"
)

// inClear is the denial of a browser that would send a token in clear text.
var inClear = &Denial{
	Status: http.StatusForbidden, Errcode: matrix.Forbidden,
	Text: "nobody signs in here over plain HTTP from another machine: the token could be read on its way, and a module's page " +
		"could read this one. Use HTTPS (http.tls, or a proxy), or have ssh bring the port to your own machine " +
		"(ssh -L 8010:127.0.0.1:8010) and open http://127.0.0.1:8010/_modulebus/",
}

// DeniesSignIn returns why a browser cannot sign in at all, whatever its token; nil if it can. It cannot over plain HTTP from another
// machine. A browser says where it sends a request from (Sec-Fetch-Mode) unless it is there: then a script of a module's page, under
// the same name and port, could not be told from the person who signed in. Programs are not browsers, and without tokens nobody signs in. See ADR 83.
func (g *Guard) DeniesSignIn(r *http.Request) *Denial {
	host := hostname(r.Host)
	ip, err := netip.ParseAddr(host)
	here := err == nil && ip.Unmap().IsLoopback() || under(host, "localhost")
	browser := strings.HasPrefix(r.UserAgent(), "Mozilla/") && r.Header.Get("Sec-Fetch-Mode") == ""
	if !browser || here || secure(r) || len(g.state.Load().keys) == 0 {
		return nil
	}
	return inClear
}

// secure reports whether the request came by HTTPS, to busd or to a proxy before it.
func secure(r *http.Request) bool {
	return r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
}

// SignIn lets a browser read the page from now on, if the token may read. It sets a cookie that no script can read and
// that the browser does not send for another site's page. An address that has tried too many tokens must wait.
func (g *Guard) SignIn(w http.ResponseWriter, r *http.Request, token string) *Denial {
	if denial := g.DeniesSignIn(r); denial != nil {
		return denial
	}
	s := g.state.Load()
	from := s.origin(r)
	if denial := g.sessions.tries.denies(from); denial != nil {
		return denial
	}
	digest := sha256.Sum256([]byte(token))
	if denial := s.lacks(digest, Read); denial != nil {
		return denial
	}
	g.sessions.tries.forgive(from)
	id := rand.Text()
	g.sessions.add(sha256.Sum256([]byte(id)), session{digest, time.Now().Add(sessionTime)})
	g.setCookie(w, r, id, int(sessionTime/time.Second))
	return nil
}

// SignOut ends the session of the browser.
func (g *Guard) SignOut(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(g.sessions.cookie); err == nil {
		g.sessions.remove(sha256.Sum256([]byte(c.Value)))
	}
	g.setCookie(w, r, "", -1)
}

// Signed reports whether the request comes from a browser that signed in to this busd, even if it may no longer read.
func (g *Guard) Signed(r *http.Request) bool {
	_, err := r.Cookie(g.sessions.cookie)
	return err == nil && len(g.state.Load().keys) > 0
}

func (g *Guard) setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // On loopback there is no TLS.
		Name: g.sessions.cookie, Value: value, Path: PagePath, MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: secure(r),
	})
}

// Key is a secret that the page's script must send with its requests, as a parameter of the query. Scripts of other
// pages at the same name and port, which modules may serve, cannot know it, because they cannot read a page that
// contains it.
func (g *Guard) Key() string { return g.sessions.key }

// scripted reports whether, by the browser's word, the request comes from a script other than the page's own, or from a
// page that shows this one in a frame, which a script could read; and not from a person who opens the page.
func (g *Guard) scripted(r *http.Request) bool {
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	if mode == "" || mode == "navigate" && (dest == "" || dest == "document") {
		return false
	}
	return subtle.ConstantTimeCompare([]byte(r.URL.Query().Get(PageKey)), []byte(g.sessions.key)) == 0
}

// DeniesPage is Denies for the page. A browser that is signed in may read it, too.
func (g *Guard) DeniesPage(r *http.Request) *Denial {
	c, err := r.Cookie(g.sessions.cookie)
	s := g.state.Load()
	if err != nil || len(s.keys) == 0 || r.Header.Get("Authorization") != "" {
		return g.Denies(r, Read)
	}
	if g.scripted(r) {
		return &Denial{Status: http.StatusForbidden, Errcode: matrix.Forbidden, Text: "a script of another page must not read this"}
	}
	found, ok := g.sessions.find(sha256.Sum256([]byte(c.Value)))
	if !ok || s.lacks(found.token, Read) != nil {
		return &Denial{Status: http.StatusUnauthorized, Errcode: "M_UNKNOWN_TOKEN", Text: "you are signed in no more: show a token again"}
	}
	return nil
}
