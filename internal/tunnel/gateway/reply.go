package gateway

import (
	"errors"
	"io"
	"os"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// reply is a response on its way to the client.
type reply struct {
	q *request
	s *call
	r *frame.Response
}

// pass writes the response. An error after its head means that it is truncated.
func (p *reply) pass() error {
	p.q.upload.settle()
	p.r.Fields = scoped(p.r.Fields, p.q.report.To.Path)
	p.q.out.head(p.r)
	p.q.report.Status, p.q.report.Outcome = p.r.Status, OK
	trailers, err := p.body()
	if err != nil {
		return p.fail(err)
	}
	p.q.out.trailers(frame.EndToEnd(trailers))
	p.q.out.release()
	return nil
}

func (p *reply) body() ([]frame.Field, error) {
	if !p.r.More {
		if bodyless(p.q.r.Method, p.r.Status) {
			return p.r.Trailers, nil
		}
		return p.r.Trailers, p.q.out.write(p.r.Body)
	}
	if err := p.q.out.flush(); err != nil {
		return nil, err
	}
	n, err := p.stream()
	if err == nil && !bodyless(p.q.r.Method, p.r.Status) && p.r.ContentLength >= 0 && n != p.r.ContentLength {
		err = lostFrames(frame.CodeLost)
	}
	return p.s.Trailers, err
}

// stream writes parts of the body as they arrive.
func (p *reply) stream() (total int64, err error) {
	idle := newTimer(p.q.g.opts.IdleTimeout)
	defer idle.stop()
	for {
		part, more, err := p.s.Read(flow.Limits{Ctx: p.q.ctx, Timer: idle.c()})
		switch {
		case errors.Is(err, io.EOF):
			return total, nil
		case p.q.outlive(p.s, err):
			continue
		case err != nil:
			return total, err
		}
		if err := p.q.out.write(part.Bytes); err != nil {
			return total, err
		}
		if !more {
			if err := p.q.out.flush(); err != nil {
				return total, err
			}
		}
		n := len(part.Bytes)
		part.Cut(n)
		total += int64(n)
		p.s.Consumed(n)
		idle.reset(p.q.g.opts.IdleTimeout)
	}
}

// fail returns why a response is truncated, and tells the worker.
func (p *reply) fail(err error) error {
	switch {
	case errors.Is(err, flow.ErrTimer):
		err = timedOut(IdleTimeout, "paused for too long")
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &failure{outcome: ClientStalled, text: "was read too slowly", cause: err}
	case errors.Is(err, errWrite):
		err = errGone
	}
	if p.s.Fail(err) {
		p.s.reset(frame.CodeCancelled)
	}
	return err
}
