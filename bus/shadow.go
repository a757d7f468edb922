package bus

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

// maxShadowed is how many asks one client repeats at once for modules in shadow.
// Beyond: those modules are not asked, and a metric counts it.
const maxShadowed = 256

// shadow is a step that never counts.
type shadow struct {
	step

	before int // steps of the plan that stand before it
}

// addShadows adds the modules in shadow before which that many others stand.
func (r *roster) addShadows(c *Client, before uint32) {
	for _, s := range r.source.GetShadows() {
		if s.GetBefore() != before {
			continue
		}
		r.grants[s.GetModule().GetName()] = s.GetModule().GetGrants()
		for _, i := range rosterwire.Asked(s) {
			if d, ok := subjects.Find(i.GetCallback()); ok && !d.FollowUp() {
				p := r.planOf(c, d)
				p.wanted = true
				p.shadows = append(p.shadows, shadow{c.step(d, s.GetModule(), i), len(p.steps)})
				p.state = wire.UniteFilters(p.state, i.GetNeeds().GetState())
			}
		}
	}
}

// shadowing is what modules in shadow say of an ask.
type shadowing struct {
	shadows []shadow
	traces  []ModuleTrace // by shadow
	over    chan struct{} // closed when they are there
}

// shadow asks the modules in shadow, if there are any, on goroutines of their own. Nothing waits for them but Close.
func (c *Client) shadow(a *asking, r *roster) *shadowing {
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
			asking.Go(func() { s.traces[i] = c.askShadow(ctx, r, p, &shadows[i], req, start) })
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

// aside does something beside asks. It does not when the client is closed; Close waits for it.
func (c *Client) aside(f func()) (begun bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.beside.Go(f)
	}
	return !c.closed
}

// shadowsOf are the modules in shadow that a request is for: none of one that is for a module by name.
func (p *plan) shadowsOf(req proto.Message) []shadow {
	d := p.callback
	if d.ToModule != nil || len(p.shadows) == 0 {
		return nil
	}
	if d.Key == nil {
		return p.shadows
	}
	key := req.ProtoReflect().Get(d.Key).String()
	return slices.DeleteFunc(slices.Clone(p.shadows), func(s shadow) bool { return s.keyOf(key) == nil && !s.named && s.unserved == "" })
}

// askShadow asks one of them, and returns what it said. What fails is logged and counted as other failures are.
func (c *Client) askShadow(ctx context.Context, r *roster, p *plan, s *shadow, req proto.Message, start time.Time) ModuleTrace {
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
	m := t.trace()
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

// stands reports whether a module is one of the first so many of the plan.
func (p *plan) stands(module string, before int) bool {
	return slices.ContainsFunc(p.steps[:before], func(s step) bool { return s.module == module })
}
