package admission

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"

	"github.com/modulebus/modulebus/internal/busd/identity"
)

const (
	// backlogLook is how often busd looks at its memory, because answers of JetStream may fill it.
	backlogLook = 50 * time.Millisecond

	// maxBacklog is how many answers of one module's store may wait in the NATS inside busd while busd's memory has grown by 128 MiB and the
	// module leaves 64 MiB unread. Beyond: the module's requests for values are turned down for some time, and the log says so.
	maxBacklog = 64

	// firstTurnedDown is for how long they are turned down, twice as long each time soon after, and lastTurnedDown in the end.
	firstTurnedDown, lastTurnedDown = time.Second, 30 * time.Second
)

// backlog turns down a module's requests for values of its store while those that it requested before fill the memory. NATS's server reads
// each value that is requested before it has sent the earlier ones, and has no limit for what waits. See ADR 78.
// Its methods belong to one goroutine.
type backlog struct {
	admission *Admission
	memory    []metrics.Sample
	rest      uint64           // bytes that are in use while nothing waits
	seen      uint64           // collections so far
	calm      bool             // nothing waited after the last of them
	held      map[string]*hold // by stream
	usual     int              // how often memory is collected where nothing is held; 0 while that is so
}

// hold is a stream of which requests are turned down, or were not long ago.
type hold struct {
	module string
	on     bool
	last   time.Time // when too many answers waited
	length time.Duration
}

func newBacklog(a *Admission) *backlog {
	b := &backlog{admission: a, held: map[string]*hold{}, memory: []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/cycles/total:gc-cycles"},
	}}
	_, b.rest, b.seen = b.measure()
	return b
}

// measure returns how many bytes are in use, with those that are no longer used and not collected yet; how many were at the last
// collection; and how many of these there were.
func (b *backlog) measure() (used, live, collections uint64) {
	metrics.Read(b.memory)
	return b.memory[0].Value.Uint64(), b.memory[1].Value.Uint64(), b.memory[2].Value.Uint64()
}

// watch looks until ctx ends. An external NATS has limits of its own.
func (b *backlog) watch(ctx context.Context) {
	if !b.admission.Broker.Embedded() {
		return
	}
	defer b.end()
	every(ctx, backlogLook, b.look)
}

// look turns requests down, or lets them through again. Memory that has not been collected yet counts, so twice as much is usual.
func (b *backlog) look(now time.Time) {
	used, live, collections := b.measure()
	if len(b.held) == 0 && used < 2*b.rest+uint64(b.admission.Unread) {
		b.rest, b.calm = min(b.rest, live), false
		return
	}
	b.release(now)
	for _, stream := range b.admission.Broker.Backlogs(b.admission.Backlog) {
		if module, ok := b.admission.owner(stream); ok && (b.held[stream] != nil || b.untaken(module)) {
			b.hold(stream, module, now)
		}
	}
	b.settle(live, collections)
	b.collect()
}

// untaken reports whether NATS holds so much for a module's connections that they cannot be taking what they request. Those that take it
// have no more held than they request at once.
func (b *backlog) untaken(module string) bool {
	held, most := 0, b.admission.Unread/2
	for _, c := range b.admission.Broker.Unread(most) {
		if c.User == identity.Module(module) {
			held += c.Bytes
		}
	}
	return held > most
}

// settle takes what a collection has found for what is in use at rest, if nothing waited after it nor after the one before.
func (b *backlog) settle(live, collections uint64) {
	if collections == b.seen {
		return
	}
	calm := b.quiet()
	if calm && b.calm {
		b.rest = live
	}
	b.seen, b.calm = collections, calm
}

// quiet reports whether nothing that was requested waits, and hardly anything is unread.
func (b *backlog) quiet() bool {
	const hardly = 16
	broker := b.admission.Broker
	return len(b.held) == 0 && len(broker.Backlogs(0)) == 0 && len(broker.Unread(b.admission.Unread/hardly)) == 0
}

// collect has memory collected when there is a quarter more than was left the last time, while requests are turned down and soon after.
func (b *backlog) collect() {
	const often = 25
	switch {
	case len(b.held) > 0 && b.usual == 0:
		b.usual = debug.SetGCPercent(often)
	case len(b.held) == 0:
		b.end()
	}
}

// end has memory collected as usual.
func (b *backlog) end() {
	if b.usual != 0 {
		debug.SetGCPercent(b.usual)
		b.usual = 0
	}
}

// hold turns down what is requested of a module's store or lease.
func (b *backlog) hold(stream, module string, now time.Time) {
	h := b.held[stream]
	if h == nil {
		h = &hold{module: module, length: firstTurnedDown / 2}
		b.held[stream] = h
	}
	h.last = now
	if !h.on {
		h.on, h.length = true, min(2*h.length, lastTurnedDown)
		b.admission.strain(module, true)
		b.admission.refused.Warn().Str("module", module).Stringer("for", h.length).
			Msg("a module requests values of its store faster than it takes them: its requests are turned down")
	}
	server := b.admission.Keys.Server()
	if err := b.admission.Broker.Divert(server.ValuesIn(stream), server.Nowhere(module)); err != nil {
		b.admission.Log.Error().Err(err).Str("module", module).Msg("cannot turn down requests for values of a store")
	}
}

// release lets requests through again, and forgets those that have been let through for long.
func (b *backlog) release(now time.Time) {
	waiting := b.admission.Broker.Backlogs(0)
	for stream, h := range b.held {
		switch past := now.Sub(h.last); {
		case h.on && past >= h.length && !slices.Contains(waiting, stream):
			h.on = false
			b.admission.Broker.Straighten(b.admission.Keys.Server().ValuesIn(stream))
			b.admission.strain(h.module, b.holds(h.module))
		case !h.on && past >= h.length+lastTurnedDown:
			delete(b.held, stream)
		}
	}
}

// holds reports whether requests for a module's store or lease are turned down.
func (b *backlog) holds(module string) bool {
	for _, h := range b.held {
		if h.on && h.module == module {
			return true
		}
	}
	return false
}
