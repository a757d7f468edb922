package admission

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/subjects"
)

const (
	// describingLook is how often busd looks at JetStream's queue of requests that describe streams.
	describingLook = 250 * time.Millisecond

	// maxDescribing is how many of them may wait in the NATS inside busd from one look to the next but one. Beyond: those about the store of the
	// module that most of them are about are turned down for some time, and the log says so.
	maxDescribing = 64

	// undescribed is for how long they are turned down, twice as long each time soon after, up to sixteen times as long.
	undescribed = 30 * time.Second
)

// describing turns down a module's requests that describe its store or its lease, while so many wait that nobody else's are served in time. NATS's
// server has one queue for those of all clients, and takes long for each that names the keys of a large store. See ADR 77.
// Its methods belong to one goroutine, but for hear.
type describing struct {
	admission *Admission
	crowded   int // looks that found too many, without a calm between them
	calm      int // looks in a row that did not: JetStream drops all that wait now and then
	held      map[string]*hold
	sub       *nats.Subscription // of what JetStream has described; nil: nobody listens

	mu   sync.Mutex
	told map[string]int // how often JetStream has described a stream since sub is there
}

// watch looks until ctx ends. An external NATS has limits of its own.
func (d *describing) watch(ctx context.Context) {
	if !d.admission.Broker.Embedded() {
		return
	}
	defer d.deafen()
	every(ctx, describingLook, d.look)
}

// look turns requests down, or lets them through again. It listens for whose they are only while there are too many, because what JetStream says
// of each is as large as its answer.
func (d *describing) look(now time.Time) {
	const calm = 8
	d.release(now)
	if d.admission.Broker.Describing() <= maxDescribing {
		if d.calm++; d.calm >= calm {
			d.crowded = 0
			d.deafen()
		}
		return
	}
	d.crowded, d.calm = d.crowded+1, 0
	switch module, stream := d.most(); {
	case d.sub == nil:
		d.listen()
	case module != "" && d.crowded > 2:
		d.hold(stream, module, now)
	}
}

func (d *describing) listen() {
	sub, err := d.admission.Broker.HearDescribed(d.hear)
	if err != nil {
		d.admission.Log.Error().Err(err).Msg("cannot hear whose streams JetStream describes")
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sub, d.told = sub, map[string]int{}
}

func (d *describing) hear(stream string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told[stream]++
}

func (d *describing) deafen() {
	if d.sub != nil {
		_ = d.sub.Unsubscribe() // It fails only when the connection is closed.
		d.sub = nil
	}
}

// most returns the module, and its stream, that JetStream has described most often; empty if it has described none, or none more than its share:
// where many modules start at once, nobody is to blame.
func (d *describing) most() (module, of string) {
	const share = 32
	d.mu.Lock()
	defer d.mu.Unlock()
	all, times := 0, 0
	for stream, n := range d.told {
		all += n
		if n <= times {
			continue
		}
		if owner, ok := d.admission.owner(stream); ok {
			module, of, times = owner, stream, n
		}
	}
	if share*times < all {
		return "", ""
	}
	return module, of
}

// hold turns down requests that describe a stream, and drops those that wait.
func (d *describing) hold(stream, module string, now time.Time) {
	const most = 16
	h := d.held[stream]
	if h == nil {
		h = &hold{module: module, length: d.admission.Undescribed / 2}
		d.held[stream] = h
	}
	h.on, h.last, h.length = true, now, min(2*h.length, most*d.admission.Undescribed)
	d.admission.refused.Warn().Str("module", module).Stringer("for", h.length).
		Msg("a module has its store described so often that nobody else's is: its requests are turned down")
	d.deafen()
	d.divert(stream, module)
	if err := d.admission.Broker.DropDescribing(); err != nil {
		d.admission.Log.Error().Err(err).Msg("cannot drop requests that describe streams")
	}
}

func (d *describing) divert(stream, module string) {
	to := d.admission.Keys.Server().NowhereElse(module)
	if err := d.admission.Broker.Divert(subjects.Description(stream), to); err != nil {
		d.admission.Log.Error().Err(err).Str("module", module).Msg("cannot turn down requests that describe a store")
	}
}

// release lets requests through again, and forgets those that have been let through for long. A change of who may connect lets them through, too.
func (d *describing) release(now time.Time) {
	for stream, h := range d.held {
		switch past := now.Sub(h.last); {
		case h.on && past >= h.length:
			h.on = false
			d.admission.Broker.Straighten(subjects.Description(stream))
		case h.on:
			d.divert(stream, h.module)
		case past >= 2*h.length:
			delete(d.held, stream)
		}
	}
}
