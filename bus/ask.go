package bus

import (
	"cmp"
	"context"
	"errors"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/spans"
	"github.com/modulebus/modulebus/subjects"
)

// ask is the one path that every callback takes.
func ask[Request, Reply proto.Message](
	ctx context.Context, c *Client, cb subjects.Callback[Request, Reply], req Request,
) (Decision[Reply], error) {
	r := c.roster.Load()
	plan := r.plans[cb.Index()]
	if plan == nil {
		return Decision[Reply]{RosterRevision: r.revision}, nil
	}
	d, err := c.run(ctx, r, plan, req)
	return typed[Reply](d), err
}

// run is decide with a span, if the client or the caller's context makes spans.
func (c *Client) run(ctx context.Context, r *roster, p *plan, req proto.Message) (Decision[proto.Message], error) {
	if c.spans == nil {
		return c.decide(ctx, r, p, req)
	}
	kind := trace.SpanKindInternal
	if trace.SpanContextFromContext(ctx).IsRemote() { // The span came over NATS, and no span of this process has begun.
		kind = trace.SpanKindServer
	}
	ctx, span := c.spans.Start(ctx, kind, "ask "+p.callback.FullName())
	defer span.End()
	d, err := c.decide(ctx, r, p, req)
	if span.Recorded() {
		span.Set(
			spans.Callback.String(p.callback.FullName()),
			spans.Outcome.String(string(outcomeOf(&d, err))),
			spans.DecidedBy.String(d.DecidedBy),
			spans.RosterRevision.Int64(int64(d.RosterRevision)),
		)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		span.Fail(errorType(err))
	}
	return d, err
}

// decide asks the modules that a plan names.
func (c *Client) decide(ctx context.Context, r *roster, p *plan, req proto.Message) (Decision[proto.Message], error) {
	d := Decision[proto.Message]{RosterRevision: r.revision}
	if err := ctx.Err(); errors.Is(err, context.Canceled) {
		return d, err
	}
	if p.err != nil {
		return d, p.err
	}
	req, err := p.fetchState(ctx, req)
	if err != nil {
		return d, err
	}
	a := takeAsking(c, len(p.steps))
	a.begin(ctx, c, r, p, req)
	shadows := repeat(a, r, true)
	if err = a.await(ctx); err == nil {
		d, err = a.decide(r)
	}
	if closed := c.roster.Load().err; closed != nil && (err != nil || len(d.Failures) > 0) {
		d, err = Decision[proto.Message]{RosterRevision: r.revision}, closed // The modules did not fail: the client did.
	}
	a.report(&d, err, cmp.Or(shadows, repeat(a, r, false)))
	a.end()
	return d, err
}
