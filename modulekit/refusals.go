package modulekit

import (
	"errors"
	"maps"
	"regexp"
	"sync"

	"github.com/nats-io/nats.go"
)

// refusals are the subscriptions that NATS has refused since the connection was last made. NATS refuses asynchronously,
// and the client library's subscription does not show it.
type refusals struct {
	nc     *nats.Conn
	before nats.ErrHandler
	news   chan struct{} // another one was refused

	mu       sync.Mutex
	subjects map[string]string // why, by subject
	closed   bool
}

// hearRefusals listens to the connection's errors until close, and passes them on.
func hearRefusals(nc *nats.Conn) *refusals {
	r := &refusals{nc: nc, before: nc.ErrorHandler(), news: make(chan struct{}, 1), subjects: map[string]string{}}
	nc.SetErrorHandler(r.hear)
	return r
}

// close ends the listening. The connection's error handler stays, because another one may have been set that calls it,
// and only passes errors on.
func (r *refusals) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// violation matches the error with which the server refuses a subscription.
var violation = regexp.MustCompile(`(?i)permissions violation for subscription to "([^"]+)"`)

func (r *refusals) hear(nc *nats.Conn, sub *nats.Subscription, err error) {
	if r.before != nil {
		r.before(nc, sub, err)
	}
	m := violation.FindStringSubmatch(err.Error())
	if m == nil || !errors.Is(err, nats.ErrPermissionViolation) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.subjects[m[1]] = "NATS does not let this worker subscribe " + m[1]
	select {
	case r.news <- struct{}{}:
	default: // It will be looked at.
	}
}

// forget is called when the connection is there again: the server then reports again what it refuses.
func (r *refusals) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.subjects)
}

func (r *refusals) has(subject string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.subjects[subject] != ""
}

func (r *refusals) all() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.subjects)
}
