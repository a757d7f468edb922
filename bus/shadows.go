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

	before int // how many steps of the plan stand before it
}

const (
	// gatherTime is how long questions for modules in shadow are gathered. They are then asked together, so that they
	// disturb few of the asks that callers wait for.
	gatherTime = 10 * time.Millisecond

	// gatherMost is how many questions for modules in shadow are gathered. Beyond: they are asked without further delay, so
	// that there is room for the next ones.
	gatherMost = maxShadowed / 2
)

// shadowing is one ask that is repeated for modules in shadow.
type shadowing struct {
	client   *Client
	roster   *roster
	plan     *plan
	shadows  []shadow
	ctx      context.Context //nolint:containedctx // It is the ask's, and is not cancelled with it.
	request  proto.Message
	start    time.Time
	budget   time.Duration // zero: the operator's
	counted  []ModuleTrace // what the modules said that count
	then     func([]ModuleTrace)
	observed chan struct{} // closed when the fields before are final
}

// newShadowing returns the part of an ask that is for modules in shadow; nil if there is none.
func newShadowing(a *asking, r *roster) *shadowing {
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
	s := &shadowing{client: c, roster: r, plan: a.plan, shadows: shadows, start: a.start, observed: make(chan struct{})}
	s.ctx, s.request = context.WithoutCancel(a.ctx), proto.Clone(a.request)
	if a.byCaller {
		s.budget = a.until.Sub(a.start)
	}
	return s
}

// repeat makes the client repeat the ask for modules in shadow, if there are any. It is repeated after its end, so
// that it is not slowed down. An ask with a file is repeated while it runs (beside), because the file can be read only
// until its end. If nothing is repeated, repeat returns nil.
func repeat(a *asking, r *roster, beside bool) *shadowing {
	if len(a.plan.shadows) == 0 {
		return nil
	}
	if _, brings := a.ctx.Value(fileKey{}).(file); brings != beside {
		return nil
	}
	s := newShadowing(a, r)
	if s != nil && beside && !a.client.aside(s.run) {
		<-a.client.shadowed
		return nil
	}
	return s
}

// over is called when the ask has been reported.
func (s *shadowing) over() {
	close(s.observed)
	if _, brings := s.ctx.Value(fileKey{}).(file); !brings {
		s.client.gather(s)
	}
}

// gather makes the client repeat an ask soon, together with others.
func (c *Client) gather(s *shadowing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch c.gathered = append(c.gathered, s); len(c.gathered) {
	case 1:
		time.AfterFunc(gatherTime, c.repeatGathered)
	case gatherMost:
		go c.repeatGathered()
	}
}

// repeatGathered repeats the gathered asks. If the client is closed, their observers get what the other modules
// said.
func (c *Client) repeatGathered() {
	c.mu.Lock()
	gathered := c.gathered
	c.gathered = nil
	c.mu.Unlock()
	for _, s := range gathered {
		if !c.aside(s.run) {
			s.tell(s.counted)
			<-c.shadowed
		}
	}
}

// tell passes what the modules said to the function that waits for it, if there is one.
func (s *shadowing) tell(modules []ModuleTrace) {
	if s.then != nil {
		s.then(modules)
	}
}

// run asks the modules in shadow, and passes on what they said.
func (s *shadowing) run() {
	defer func() { <-s.client.shadowed }()
	ctx, cancel := s.limited()
	defer cancel()
	traces := make([]ModuleTrace, len(s.shadows))
	var asking sync.WaitGroup
	for i := 1; i < len(traces); i++ {
		asking.Go(func() { traces[i] = s.ask(ctx, i) })
	}
	traces[0] = s.ask(ctx, 0)
	asking.Wait()
	<-s.observed
	s.tell(s.among(traces))
}

// limited returns a context with as much time as the ask's caller gave.
func (s *shadowing) limited() (context.Context, context.CancelFunc) {
	if s.budget == 0 {
		return s.ctx, func() {}
	}
	return context.WithTimeout(s.ctx, s.budget)
}

// ask asks a module, and returns what it said. A failure is logged and counted like any other.
func (s *shadowing) ask(ctx context.Context, i int) (m ModuleTrace) {
	alone := *s.plan
	alone.steps, alone.shadows = []step{s.shadows[i].step}, nil
	a := takeAsking(s.client, 1)
	defer a.end()
	a.begin(ctx, s.client, s.roster, &alone, s.request)
	a.shadow = true
	_ = a.await(ctx) // The context is never cancelled by a caller.
	t := &a.attempts[0]
	if t.told {
		t.report()
	}
	m.fill(t)
	m.Shadow, m.Counted = true, false
	m.AskedAt = t.at.Sub(s.start)
	return m
}

// await makes the shadowing call then when the modules in shadow have answered, with all modules in roster order.
func (s *shadowing) await(counted []ModuleTrace, then func([]ModuleTrace)) {
	s.counted, s.then = slices.Clone(counted), then
}

// among returns the modules that count and those in shadow, in roster order.
func (s *shadowing) among(traces []ModuleTrace) (all []ModuleTrace) {
	counted, left := s.counted, 0
	for i, shadow := range s.shadows {
		for ; left < len(counted) && s.plan.stands(counted[left].Module, shadow.before); left++ {
			all = append(all, counted[left])
		}
		all = append(all, traces[i])
	}
	return append(all, counted[left:]...)
}
