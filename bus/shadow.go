package bus

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
)

// maxShadowed is how many asks one client repeats at once for modules in shadow.
// Beyond: those modules are not asked, and a metric counts it.
const maxShadowed = 256

// shadow is a step that never counts.
type shadow struct {
	step

	before int // steps of the plan that stand before it
}

// shadowing is what modules in shadow say of an ask.
type shadowing struct {
	shadows []shadow
	traces  []ModuleTrace // by shadow
	over    chan struct{} // closed when they are there
}

// startShadows asks the modules in shadow, if there are any, on goroutines of their own. Nothing waits for them but Close.
func startShadows(a *asking, r *roster) *shadowing {
	c := a.client
	shadows := a.plan.shadowsOf(a.request)
	if len(shadows) == 0 {
		return nil
	}
	select {
	case c.shadowed <- struct{}{}:
	default:
		c.metrics.unshadowed.Inc()
		return nil
	}
	s := &shadowing{shadows, make([]ModuleTrace, len(shadows)), make(chan struct{})}
	p, start, req := a.plan, a.start, proto.Clone(a.request)
	ctx, cancel := context.WithDeadline(context.WithoutCancel(a.ctx), a.until)
	begun := c.aside(func() {
		defer func() { cancel(); close(s.over); <-c.shadowed }()
		var asking sync.WaitGroup
		for i := range shadows {
			asking.Go(func() { s.traces[i] = shadows[i].ask(ctx, c, r, p, req, start) })
		}
		asking.Wait()
	})
	if !begun {
		cancel()
		<-c.shadowed
		return nil
	}
	return s
}

// ask asks the module, and returns what it said. What fails is logged and counted as other failures are.
func (s *shadow) ask(ctx context.Context, c *Client, r *roster, p *plan, req proto.Message, start time.Time) ModuleTrace {
	alone := *p
	alone.steps, alone.shadows = []step{s.step}, nil
	a := c.askings.Get().(*asking)
	defer a.end()
	a.begin(ctx, c, r, &alone, req)
	a.shadow = true
	_ = a.await(ctx) // Nobody takes the question back.
	t := &a.attempts[0]
	if t.told {
		t.report()
	}
	m := newModuleTrace(t)
	m.Shadow, m.Counted = true, false
	m.AskedAt = t.at.Sub(start)
	return m
}

// await has then called when all is said, with all modules in the order of the roster.
func (s *shadowing) await(c *Client, p *plan, counted []ModuleTrace, then func([]ModuleTrace)) {
	counted = slices.Clone(counted)
	c.aside(func() {
		<-s.over
		then(s.among(p, counted))
	})
}

// among puts the modules in shadow in their places.
func (s *shadowing) among(p *plan, counted []ModuleTrace) (all []ModuleTrace) {
	left := 0
	for i, shadow := range s.shadows {
		for ; left < len(counted) && p.stands(counted[left].Module, shadow.before); left++ {
			all = append(all, counted[left])
		}
		all = append(all, s.traces[i])
	}
	return append(all, counted[left:]...)
}
