package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// beside measures small requests while four bodies are under way, against the same without.
type beside struct{}

func (beside) name() string { return "GET beside four bulk streams, p50, against without" }

func (r beside) measure(ctx context.Context, o options) (_ string, err error) {
	s, err := newStage()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	ours, peer, err := pair(s, streams(nil))
	if err != nil {
		return "", err
	}
	var mine, theirs pages
	for range o.rounds {
		if err := errors.Join(mine.round(ctx, s, ours), theirs.round(ctx, s, peer)); err != nil {
			return "", err
		}
	}
	slices.Sort(mine.ratios)
	slices.Sort(theirs.ratios)
	ratio := mine.ratios[len(mine.ratios)/2]
	return fmt.Sprintf("| %s | %v | %v | %s (peer %s) | %v | %s |", r.name(), mine, theirs, spread(mine.ratios), spread(theirs.ratios), atMost(2),
		verdict(ratio <= 2)), nil
}

// pages are what small requests took in each round of one side.
type pages struct {
	with, without []time.Duration // medians
	ratios        []float64
	rates         []float64 // of the bodies together, in bytes a second
}

// String shows the median of each figure, each of a round of its own.
func (p pages) String() string {
	slices.Sort(p.with)
	slices.Sort(p.without)
	slices.Sort(p.rates)
	middle := len(p.with) / 2
	return fmt.Sprintf("%s beside bodies of %.2f GB/s, %s without", span(p.with[middle]), p.rates[middle]/1e9, span(p.without[middle]))
}

// spread is a sorted list's median, and the middle half.
func spread(l []float64) string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", l[len(l)/2], l[len(l)/4], l[len(l)*3/4])
}

// round asks for pages without bodies, and then beside them.
func (p *pages) round(ctx context.Context, s *stage, base string) error {
	without, err := median(ctx, s, base)
	if err != nil {
		return err
	}
	bodies, err := open(ctx, s, base, 4)
	defer bodies.close()
	if err != nil {
		return err
	}
	before, began := bodies.read.Load(), time.Now()
	with, err := median(ctx, s, base)
	p.rates = append(p.rates, float64(bodies.read.Load()-before)/time.Since(began).Seconds())
	p.with, p.without = append(p.with, with), append(p.without, without)
	p.ratios = append(p.ratios, float64(with)/float64(without))
	return err
}

// bodies are responses under way that do not end.
type bodies struct {
	read    atomic.Int64 // bytes
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// open returns when something of each body is there, or one has failed. close must be called in any case.
func open(ctx context.Context, s *stage, base string, n int) (_ *bodies, err error) {
	ctx, cancel := context.WithCancel(ctx)
	b := &bodies{cancel: cancel}
	c := s.httpClient(n)
	begun := make(chan error, 2*n) // nil from each that begins, and an error from each when it ends: when it is cancelled
	for range n {
		b.running.Go(func() {
			begun <- bulk{}.transferTo(ctx, c, base, 1<<40, b, func() { begun <- nil })
		})
	}
	for range n {
		err = errors.Join(err, <-begun)
	}
	return b, err
}

// Write implements [io.Writer].
func (b *bodies) Write(p []byte) (int, error) {
	b.read.Add(int64(len(p)))
	return len(p), nil
}

func (b *bodies) close() {
	b.cancel()
	b.running.Wait()
}

func median(ctx context.Context, s *stage, base string) (time.Duration, error) {
	c := s.httpClient(1)
	const n = 200
	took := make([]time.Duration, n)
	for i := range took {
		start := time.Now()
		if err := get(ctx, c, base+pagePath); err != nil {
			return 0, err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	return took[n/2], nil
}

func get(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	rsp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	_, err = io.Copy(io.Discard, rsp.Body)
	return err
}

// idle measures what streams that say nothing cost the gateway: its worker is another process.
type idle struct{}

func (idle) name() string { return "10,000 idle streams of events, memory of the gateway for each" }

func (r idle) measure(ctx context.Context, o options) (_ string, err error) {
	n := 10_000
	if o.rounds == 1 {
		n = 10
	}
	s, err := newStage()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	h, err := newHomeserver(s, "example.com", "module")
	if err != nil {
		return "", err
	}
	if err := errors.Join(h.process("module"), h.await("module", 1)); err != nil {
		return "", err
	}
	each, err := r.each(ctx, h.client.Handler(), n)
	return fmt.Sprintf("| %s | %.1f KiB | | | ≤ 16 KiB | %s |", r.name(), each/1024, verdict(each <= 16<<10)), err
}

// each opens the streams, without HTTP in front: that costs what it costs.
func (idle) each(ctx context.Context, gateway http.Handler, n int) (float64, error) {
	before := memory()
	leave, err := listen(ctx, gateway, idlePath, n)
	defer leave()
	return (memory() - before) / float64(n), err
}

// listen opens streams of a page, each of which has said something when it returns, until leave is called.
func listen(ctx context.Context, gateway http.Handler, path string, n int) (leave func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	leave = func() { cancel(); running.Wait() }
	began := make(chan struct{}, n)
	for range n {
		running.Go(func() {
			defer func() { _ = recover() }() // It panics when the client leaves.
			l := &listener{header: http.Header{}, began: func() { began <- struct{}{} }}
			gateway.ServeHTTP(l, httptest.NewRequest(http.MethodGet, path, nil).WithContext(ctx))
		})
	}
	for range n {
		select {
		case <-began:
		case <-time.After(patience):
			return leave, errors.New("not all streams began")
		}
	}
	return leave, nil
}

// listener is a client that says when it heard something.
type listener struct {
	header http.Header
	began  func()
	once   sync.Once
}

func (l *listener) Header() http.Header { return l.header }
func (l *listener) WriteHeader(int)     {}
func (l *listener) Flush()              {}
func (l *listener) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "data:") {
		l.once.Do(l.began)
	}
	return len(p), nil
}

// memory is what is in use, with stacks.
func memory() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

// leaving measures how long it takes until a handler knows that its client left.
type leaving struct{}

func (leaving) name() string { return "client leaves until the handler's context ends, p50 and worst" }

func (r leaving) measure(ctx context.Context, o options) (_ string, err error) {
	s, err := newStage()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	left := make(chan time.Time, 1)
	ours, peer, err := pair(s, streams(left))
	if err != nil {
		return "", err
	}
	a, err := r.times(ctx, s, ours, left, 10*o.rounds)
	if err != nil {
		return "", err
	}
	b, err := r.times(ctx, s, peer, left, 10*o.rounds)
	if err != nil {
		return "", err
	}
	worst := a[len(a)-1]
	return fmt.Sprintf("| %s | %v, %v | %v, %v | | < 100 ms | %s |", r.name(), a[len(a)/2], worst, b[len(b)/2], b[len(b)-1],
		verdict(worst < 100*time.Millisecond)), nil
}

func (leaving) times(ctx context.Context, s *stage, base string, left <-chan time.Time, n int) ([]time.Duration, error) {
	c := s.httpClient(1)
	took := make([]time.Duration, n)
	for i := range took {
		at, err := leave(ctx, c, base)
		if err != nil {
			return nil, err
		}
		select {
		case then := <-left:
			took[i] = then.Sub(at)
		case <-time.After(patience):
			return nil, errors.New("the handler never knew")
		}
	}
	slices.Sort(took)
	return took, nil
}

// leave opens a stream and leaves it.
func leave(ctx context.Context, c *http.Client, base string) (time.Time, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+idlePath, nil)
	if err != nil {
		return time.Time{}, err
	}
	rsp, err := c.Do(req)
	if err != nil {
		return time.Time{}, err
	}
	defer rsp.Body.Close()
	_, err = rsp.Body.Read(make([]byte, 1))
	return time.Now(), err
}
