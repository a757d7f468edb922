package access

import (
	"hash/maphash"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxTries is how many tokens an address may try to sign in with at once. Beyond: one every six seconds.
	maxTries = 10

	// tryTime is how long it takes until a try no longer counts.
	tryTime = 6 * time.Second

	// triers is how many addresses are counted apart. Beyond: some addresses share a count.
	triers = 1024
)

// tries counts the tries of addresses, so that a token cannot be guessed. Its memory does not grow with the number of
// addresses: a hash that cannot be predicted assigns each address to one of a fixed number of places. A place holds the
// time at which its tries no longer count.
type tries struct {
	seed maphash.Seed
	mu   sync.Mutex
	free [triers]time.Time
}

func newTries() *tries { return &tries{seed: maphash.MakeSeed()} }

// denies counts a try, and returns why it is refused; nil if it is not.
func (t *tries) denies(addr netip.Addr) *Denial {
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

// forgive forgets the tries of an address that knew a token.
func (t *tries) forgive(addr netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.free[t.place(addr)] = time.Time{}
}

func separates(c rune) bool { return c == ',' || c == ' ' || c == '\t' }

// place returns the place of an address. For IPv6, all addresses of one customer's network share a place.
func (t *tries) place(addr netip.Addr) uint64 {
	addr = addr.Unmap().WithZone("")
	if network, err := addr.Prefix(64); err == nil && addr.Is6() {
		addr = network.Addr()
	}
	return maphash.Comparable(t.seed, addr) % triers
}
