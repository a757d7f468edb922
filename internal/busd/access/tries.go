package access

import (
	"hash/maphash"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxTries is how many tokens somebody may try to sign in with, one after the other. Beyond: one each six seconds.
	maxTries = 10

	// tryTime is how long it takes until a try counts no more.
	tryTime = 6 * time.Second

	// triers is how many addresses are told apart. Beyond: some wait for one another.
	triers = 1024
)

// tries counts what addresses have tried, so that nobody finds a token by guessing. Its memory does not grow with the number of addresses: where an
// address counts follows from a hash that nobody can predict. What it holds is when an address will have no try to wait for.
type tries struct {
	seed maphash.Seed
	mu   sync.Mutex
	free [triers]time.Time
}

func newTries() *tries { return &tries{seed: maphash.MakeSeed()} }

// denies counts a try, and says why it is not made, or returns nil.
func (t *tries) denies(addr string) *Denial {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, free := time.Now(), &t.free[t.place(addr)]
	if free.Sub(now) > (maxTries-1)*tryTime {
		return &Denial{Status: http.StatusTooManyRequests, Errcode: "M_LIMIT_EXCEEDED", Text: "too many tokens were tried from here: wait a minute"}
	}
	if free.Before(now) {
		*free = now
	}
	*free = free.Add(tryTime)
	return nil
}

// forgive forgets the tries of who knew a token.
func (t *tries) forgive(addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free[t.place(addr)] = time.Time{}
}

// place is where an address counts: of IPv6, what one customer of a provider has.
func (t *tries) place(addr string) uint64 {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() && !ip.Is4In6() {
		if network, err := ip.Prefix(64); err == nil {
			host = network.String()
		}
	}
	return maphash.String(t.seed, host) % triers
}
