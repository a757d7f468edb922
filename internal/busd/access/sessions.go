package access

import (
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

const (
	// Cookie is the name of the cookie with a session.
	Cookie = "modulebus_session"

	// PagePath is where the page for people is: a browser sends the cookie there, and to no module's page.
	PagePath = "/_modulebus/"

	// sessionTime is how long a browser stays signed in.
	sessionTime = 12 * time.Hour

	// maxSessions is how many browsers may be signed in. Beyond: the one that would end first is signed out.
	maxSessions = 256
)

// sessions are the browsers that have shown a token that may read. Only digests of what the browser holds are kept.
type sessions struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]session
}

// session is good as long as its token is.
type session struct {
	token [sha256.Size]byte
	until time.Time
}

// SignIn lets a browser look at the page from now on, if the token may read, and has it told so by a cookie that no script can
// read and that no other site's page makes it send.
func (g *Guard) SignIn(w http.ResponseWriter, r *http.Request, token string) *Denial {
	digest := sha256.Sum256([]byte(token))
	if denial := g.state.Load().lacks(digest, Read); denial != nil {
		return denial
	}
	name := rand.Text()
	g.sessions.add(sha256.Sum256([]byte(name)), session{digest, time.Now().Add(sessionTime)})
	setCookie(w, r, name, int(sessionTime/time.Second))
	return nil
}

// SignOut ends the session of the browser.
func (g *Guard) SignOut(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(Cookie); err == nil {
		g.sessions.remove(sha256.Sum256([]byte(c.Value)))
	}
	setCookie(w, r, "", -1)
}

func setCookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // On loopback there is no TLS.
		Name: Cookie, Value: value, Path: PagePath, MaxAge: age, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	})
}

// DeniesPage is Denies for the page, which a browser that is signed in may read, too.
func (g *Guard) DeniesPage(r *http.Request) *Denial {
	c, err := r.Cookie(Cookie)
	if err != nil || r.Header.Get("Authorization") != "" {
		return g.Denies(r, Read)
	}
	s := g.state.Load()
	if len(s.keys) == 0 {
		return nil
	}
	found, ok := g.sessions.find(sha256.Sum256([]byte(c.Value)))
	if !ok || s.lacks(found.token, Read) != nil {
		return &Denial{Status: http.StatusUnauthorized, Errcode: "M_UNKNOWN_TOKEN", Text: "you are signed in no more: show a token again"}
	}
	return nil
}

// Asks reports whether a token is wanted at all.
func (g *Guard) Asks() bool { return len(g.state.Load().keys) > 0 }

func (s *sessions) find(id [sha256.Size]byte) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.all[id]
	return found, ok && time.Now().Before(found.until)
}

func (s *sessions) add(id [sha256.Size]byte, one session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[[sha256.Size]byte]session{}
	}
	for len(s.all) >= maxSessions {
		delete(s.all, s.first())
	}
	s.all[id] = one
}

// first is the session that ends first.
func (s *sessions) first() (id [sha256.Size]byte) {
	var until time.Time
	for k, one := range s.all {
		if until.IsZero() || one.until.Before(until) {
			id, until = k, one.until
		}
	}
	return id
}

func (s *sessions) remove(id [sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, id)
}
