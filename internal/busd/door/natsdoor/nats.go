package natsdoor

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/subjects"
)

// flushTime is how long NATS may take to accept answers, or to deliver asks, when the door closes. Beyond: they are
// lost.
const flushTime = 2 * time.Second

// Door answers homeservers that ask over NATS. If several busd share NATS, one of them answers each ask. It implements
// [door.Door].
type Door struct {
	answerer *door.Answerer
	nc       *nats.Conn
	subject  string
	log      zerolog.Logger
	asks     *responder.Responder // nil until Open
}

// New returns the door for the named homeserver. The connection stays the caller's.
func New(nc *nats.Conn, serverName string, a *door.Answerer, log zerolog.Logger) *Door {
	return &Door{answerer: a, nc: nc, subject: subjects.For(serverName).AskAny(), log: log}
}

// Open implements [door.Door].
func (d *Door) Open() error {
	d.asks = responder.New(d.nc, responder.Options{Limit: door.MaxAsks, Serve: d.serve, Spell: d.spell, Log: &d.log})
	if err := d.asks.Subscribe(d.subject, "busd"); err != nil {
		return fmt.Errorf("cannot listen for asks over NATS: %w", err)
	}
	return d.nc.Flush()
}

// Drain implements [door.Door]. An ask that NATS has already sent to this busd is under way, too: no other busd gets
// it.
func (d *Door) Drain(ctx context.Context) {
	select {
	case <-d.asks.Drain(flushTime):
	case <-ctx.Done():
		d.log.Warn().Msg("asks over NATS were still under way")
	}
	_ = d.nc.FlushTimeout(flushTime)
}

// Close implements [door.Door].
func (d *Door) Close() {
	if d.asks != nil {
		<-d.asks.Drain(flushTime)
	}
}

func (d *Door) serve(m *nats.Msg) responder.Answer {
	ctx := d.asks.Begin("", timeoutOf(m))
	defer ctx.End()
	name, _ := subjects.CallbackOf(m.Subject) // The subscription has no other subjects. An empty name is no callback's.
	in := wire.MappingOf(m)
	out, p := d.answerer.Answer(spans.Received(ctx, m), name, m.Data, in)
	if p != nil {
		return d.problem(p)
	}
	return responder.Answer{Header: in.Header(), Data: out}
}

// timeoutOf is the time that the homeserver allows; 0 if it does not say.
func timeoutOf(m *nats.Msg) time.Duration {
	if wire.Header(m, wire.HeaderTimeout) == "" {
		return 0
	}
	return max(wire.Timeout(m, math.MaxInt64), time.Millisecond)
}

// spell is the answer to an ask that was not handled, and logs why.
func (d *Door) spell(t responder.Trouble) responder.Answer {
	p := door.NewProblem(http.StatusInternalServerError, matrix.Unknown, t.Text)
	switch t.Cause {
	case responder.Busy:
		p.Status = http.StatusServiceUnavailable
	case responder.TooLarge:
		p.Errcode = matrix.TooLarge
	case responder.Panicked:
	}
	return d.problem(p)
}

// problem is the answer to an ask without a decision.
func (d *Door) problem(p *door.Problem) responder.Answer {
	d.answerer.Note(p)
	return responder.Answer{Header: p.Header(), Data: p.Body()}
}
