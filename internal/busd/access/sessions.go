package access

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// PagePath is the path of the operators' page. A browser sends the cookie there, and to no module's page.
	PagePath = "/_modulebus/"

	// sessionTime is how long a browser stays signed in.
	sessionTime = 12 * time.Hour

	// maxSessions is how many browsers may be signed in. Beyond: the one whose session would end first is signed out.
	maxSessions = 256
)

// sessions are the browsers that have shown a token for reading. Only digests of their cookies are kept.
type sessions struct {
	cookie string // its name: different for each busd and each run of it, because browsers send a cookie to all ports of a host
	key    string // a secret of the page's own script
	tries  *tries
	mu     sync.Mutex
	all    map[[sha256.Size]byte]session
}

func newSessions() sessions {
	return sessions{cookie: "modulebus_" + rand.Text()[:8], key: rand.Text(), tries: newTries(), all: map[[sha256.Size]byte]session{}}
}

// session is valid as long as its token is.
type session struct {
	token [sha256.Size]byte
	until time.Time
}

// PageKey is the name of the parameter with what [Guard.Key] returns.
const PageKey = "key"

func (s *sessions) find(id [sha256.Size]byte) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.all[id]
	return found, ok && time.Now().Before(found.until)
}

func (s *sessions) add(id [sha256.Size]byte, one session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.all) >= maxSessions {
		delete(s.all, s.first())
	}
	s.all[id] = one
}

// first returns the session that ends first.
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
