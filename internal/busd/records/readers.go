package records

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// handTime is how long a module may take for a batch. Beyond: it is sent the next one, and told that these records may
	// be lost.
	handTime = 30 * time.Second

	// spareBytes of a message are kept for what is sent beside records: headers, and the number of lost ones.
	spareBytes = 1 << 10
)

// ReadersOptions configure [Readers]. All are required.
type ReadersOptions struct {
	// Conn is the connection to NATS, which stays the caller's.
	Conn *nats.Conn

	// ServerName is the homeserver's.
	ServerName string

	// Log gets a line for modules that do not accept records.
	Log zerolog.Logger
}

// Readers sends the records of a [Recorder] to modules, from the time when they may read them. Each batch goes to one
// worker of a module, and the next one when the worker has accepted it. A module that is slower than records are made
// loses some, and is told how many. Its methods may be called concurrently.
type Readers struct {
	ReadersOptions
	recorder *Recorder
	server   subjects.Server
	owned    sync.WaitGroup

	mu      sync.Mutex
	running map[string]context.CancelFunc // by module
}

// NewReaders returns readers without any module. Close must be called.
func NewReaders(r *Recorder, o ReadersOptions) *Readers {
	return &Readers{ReadersOptions: o, recorder: r, server: subjects.For(o.ServerName), running: map[string]context.CancelFunc{}}
}

// Configure sets the modules that may read.
func (r *Readers) Configure(modules []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for module, stop := range r.running {
		if !slices.Contains(modules, module) {
			stop()
			delete(r.running, module)
		}
	}
	for _, module := range modules {
		if r.running[module] == nil {
			ctx, stop := context.WithCancel(context.Background())
			r.running[module] = stop
			h := &handing{r, module, r.recorder.Follow(decision.Filter{}), 0}
			r.owned.Go(func() { h.run(ctx) })
		}
	}
}

// Close stops.
func (r *Readers) Close() {
	r.Configure(nil)
	r.owned.Wait()
}

// handing sends records to one module.
type handing struct {
	*Readers
	module string
	reader *Reader
	lost   uint64 // lost records of which the module is not told yet
}

func (h *handing) run(ctx context.Context) {
	defer h.reader.Close()
	for ctx.Err() == nil {
		found, lost, _, _ := h.reader.Read()
		h.lost += lost
		for len(found) > 0 && ctx.Err() == nil {
			found = h.hand(ctx, found)
		}
		if len(found) == 0 {
			h.reader.gather(ctx)
		}
	}
}

// hand sends as many of the records as fit into a message, and returns the others; all of them, if no worker is there.
func (h *handing) hand(ctx context.Context, found []decision.Record) (left []decision.Record) {
	batch := h.batch(found)
	if len(batch.Decisions) == 0 {
		h.lost++ // It is too large for NATS.
		return found[1:]
	}
	switch err := h.request(ctx, batch); {
	case err == nil:
		h.lost = 0
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, nats.ErrReconnectBufExceeded):
		pause(ctx, retryTime)
		return found
	case ctx.Err() == nil:
		h.lost += uint64(len(batch.Decisions))
		h.Log.Warn().Str("module", h.module).Err(err).Msg("a module did not take records of decisions in time, and is handed later ones")
	}
	return found[len(batch.Decisions):]
}

// batch returns a batch of as many records as fit into a message.
func (h *handing) batch(found []decision.Record) decision.Batch {
	b := decision.Batch{Decisions: found[:0:0], Lost: h.lost}
	most := int(h.Conn.MaxPayload()) - spareBytes
	room := most
	for i := range found {
		raw := encode(&found[i], most) // Not the room that is left in this message: the record would be cut although the next message has room for it.
		if room -= len(raw) + 1; raw == nil || room < 0 {
			break
		}
		b.Decisions = append(b.Decisions, found[i])
	}
	return b
}

// request sends a batch to a worker, and returns when the worker has accepted it.
func (h *handing) request(ctx context.Context, b decision.Batch) error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, handTime)
	defer cancel()
	header := wire.JSON.Header()
	header.Set(wire.HeaderTimeout, strconv.FormatUint(uint64(wire.Milliseconds(handTime)), 10))
	_, err = h.Conn.RequestMsgWithContext(ctx, &nats.Msg{Subject: h.server.Decisions(h.module), Data: data, Header: header})
	return err
}
