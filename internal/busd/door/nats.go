package door

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/pool"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// maxAsks is how many asks over NATS one busd works on at once. More are answered 503.
	maxAsks = 1024

	// flushTime is how long NATS may take to accept, or to bring, what there is when the door closes.
	flushTime = 2 * time.Second
)

// NATS answers homeservers that ask over NATS. Of several busd, one answers. It implements [Door].
type NATS struct {
	answerer *Answerer
	nc       *nats.Conn
	subject  string
	log      zerolog.Logger
	sub      *nats.Subscription // nil until Open
	pool     *pool.Pool
}

// NewNATS returns the door for the homeserver with that name. The connection stays the caller's.
func NewNATS(nc *nats.Conn, serverName string, a *Answerer, log zerolog.Logger) *NATS {
	return &NATS{answerer: a, nc: nc, subject: subjects.Of(serverName).AskAny(), log: log}
}

// Open implements [Door].
func (d *NATS) Open() error {
	d.pool = pool.Answering(maxAsks, d.serve, d.respond, d.busy)
	sub, err := d.nc.ChanQueueSubscribe(d.subject, "busd", d.pool.Work)
	if err != nil {
		<-d.pool.Stop()
		return fmt.Errorf("cannot listen for asks over NATS: %w", err)
	}
	d.sub = sub
	return d.nc.Flush()
}

// Drain implements [Door]. An ask that NATS gave to this busd before it knew is under way, too: nobody else gets it.
func (d *NATS) Drain(ctx context.Context) {
	_ = d.sub.Drain() // All of these fail only when the connection is closed, or NATS is away.
	_ = d.nc.FlushTimeout(flushTime)
	select {
	case <-d.pool.Stop():
	case <-ctx.Done():
		d.log.Warn().Msg("asks over NATS were still under way")
	}
	_ = d.nc.FlushTimeout(flushTime)
}

// Close implements [Door].
func (d *NATS) Close() {
	if d.sub != nil && d.sub.IsValid() {
		_ = d.sub.Unsubscribe()
		<-d.pool.Stop()
	}
}

func (d *NATS) serve(m *nats.Msg) (nats.Header, []byte) {
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	if timeout := wire.Timeout(m, math.MaxInt64); wire.Header(m, wire.HeaderTimeout) != "" {
		ctx, cancel = context.WithTimeout(ctx, max(timeout, time.Millisecond))
	}
	defer cancel()
	name, _ := subjects.CallbackOf(m.Subject) // The subscription lets nothing else through; no name is no callback's.
	mapping := wire.MappingOf(m)
	out, p := d.answerer.answer(ctx, name, m.Data, mapping)
	if p != nil {
		return p.header(), p.body()
	}
	return mapping.Header(), out
}

func (d *NATS) busy(m *nats.Msg) {
	p := newProblem(http.StatusServiceUnavailable, unknown, fmt.Sprintf("%d asks are under way", maxAsks))
	d.respond(m, p.header(), p.body())
}

func (d *NATS) respond(m *nats.Msg, h nats.Header, data []byte) {
	if m.Reply == "" {
		return
	}
	err := d.nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: h, Data: data})
	if errors.Is(err, nats.ErrMaxPayload) {
		text := fmt.Sprintf("the decision of %d bytes is larger than the server's max_payload", len(data))
		p := newProblem(http.StatusInternalServerError, tooLarge, text)
		err = d.nc.PublishMsg(&nats.Msg{Subject: m.Reply, Header: p.header(), Data: p.body()})
	}
	if err != nil {
		d.log.Warn().Err(err).Msg("cannot answer an ask over NATS")
	}
}
