package modulekit

import (
	"context"
	"errors"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// refusals are the subscriptions that NATS has refused since the connection was last made. NATS refuses asynchronously,
// and the client library's subscription does not show it.
type refusals struct {
	nc     *nats.Conn
	before nats.ErrHandler
	news   chan struct{} // another one was refused

	mu       sync.Mutex
	subjects map[string]uint64 // of which connection, as Reconnects counts them, by subject
	closed   bool
}

// hearRefusals listens to the connection's errors until close, and passes them on.
func hearRefusals(nc *nats.Conn) *refusals {
	r := &refusals{nc: nc, before: nc.ErrorHandler(), news: make(chan struct{}, 1), subjects: map[string]uint64{}}
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

// refusedBy returns the subject that an error says may not be subscribed; empty if it says something else.
func refusedBy(err error) string {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return ""
	}
	if m := violation.FindStringSubmatch(err.Error()); m != nil {
		return m[1]
	}
	return ""
}

func (r *refusals) hear(nc *nats.Conn, sub *nats.Subscription, err error) {
	subject := refusedBy(err)
	if subject != "" && r.has(subject) {
		return // This worker has tried again.
	}
	if r.before != nil {
		r.before(nc, sub, err)
	}
	if subject != "" {
		r.note(subject)
	}
}

func (r *refusals) note(subject string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.subjects[subject] = r.nc.Stats().Reconnects
	select {
	case r.news <- struct{}{}:
	default: // It will be looked at.
	}
}

// tryAgain subscribes what was refused once more, because an operator may have allowed it meanwhile: NATS says nothing
// then, and does not remember what it has refused. renew reports whether a subject is subscribed by this worker. A server answers in order,
// so what it has not refused before it answers the flush is allowed; another error in between hides that for a moment, until hear has it.
func (r *refusals) tryAgain(ctx context.Context, patience time.Duration, renew func(subject string) bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, subject := range r.all() {
		before := r.nc.LastError()
		if !renew(subject) {
			continue
		}
		if r.nc.FlushWithContext(ctx) != nil {
			return
		}
		if last := r.nc.LastError(); errors.Is(last, before) || refusedBy(last) != subject {
			r.allow(subject)
		}
	}
}

func (r *refusals) allow(subject string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.subjects, subject)
}

func (r *refusals) has(subject string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	of, ok := r.subjects[subject]
	return ok && of == r.nc.Stats().Reconnects
}

// all are the subjects that are refused now. When the connection is made again, the client subscribes again, and the server says again
// what it refuses.
func (r *refusals) all() (refused []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.nc.Stats().Reconnects
	for subject, of := range r.subjects {
		if of == now {
			refused = append(refused, subject)
		} else {
			delete(r.subjects, subject)
		}
	}
	return refused
}
