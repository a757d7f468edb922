package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// side is one of the two that are compared: an operation, and how many callers repeat it at the same time.
type side struct {
	callers int
	do      func(context.Context) error
}

// sample is what one round of a side came to.
type sample struct {
	each   time.Duration // between one operation done and the next one done, by whichever caller
	p99    time.Duration // that an operation takes its caller, but for the slowest hundredth
	cpu    time.Duration // for each operation, of the whole process
	allocs float64       // likewise
}

// round repeats the operation for a while. Garbage of before is not its to collect.
func (s side) round(ctx context.Context, d time.Duration) (sample, error) {
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, used := time.Now(), cpu()
	times, err := s.repeat(ctx, d)
	took, ops := time.Since(start), len(times)
	used = cpu() - used
	runtime.ReadMemStats(&after)
	if err != nil {
		return sample{}, err
	}
	slices.Sort(times)
	const percent = 100
	return sample{
		took / time.Duration(ops), times[ops*99/percent], used / time.Duration(ops), float64(after.Mallocs-before.Mallocs) / float64(ops),
	}, nil
}

// repeat returns how long each operation took.
func (s side) repeat(ctx context.Context, d time.Duration) ([]time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var over atomic.Bool
	defer time.AfterFunc(d, func() { over.Store(true) }).Stop()
	var callers sync.WaitGroup
	errs, times := make([]error, s.callers), make([][]time.Duration, s.callers)
	for i := range s.callers {
		callers.Go(func() {
			last := time.Now()
			for first := true; errs[i] == nil && (first || !over.Load()); first = false {
				errs[i] = s.do(ctx)
				now := time.Now()
				times[i], last = append(times[i], now.Sub(last)), now
			}
		})
	}
	callers.Wait()
	return slices.Concat(times...), errors.Join(errs...)
}

// cpu is the time that this process has used of all processors.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// bar is how far the ratio may go.
type bar struct {
	ratio      float64
	throughput bool // the ratio is ours to the peer's throughput, and at least this; else of time, and at most this
}

func atMost(ratio float64) bar  { return bar{ratio, false} }
func atLeast(ratio float64) bar { return bar{ratio, true} }

// of is the ratio of two rounds.
func (b bar) of(ours, peer sample) float64 {
	if b.throughput {
		return float64(peer.each) / float64(ours.each)
	}
	return float64(ours.each) / float64(peer.each)
}

func (b bar) String() string {
	if b.throughput {
		return fmt.Sprintf("≥ %.2f × throughput", b.ratio)
	}
	return fmt.Sprintf("≤ %.2f × time", b.ratio)
}

func (b bar) holds(ratio float64) bool {
	if b.throughput {
		return ratio >= b.ratio
	}
	return ratio <= b.ratio
}

func verdict(holds bool) string {
	if holds {
		return "✓"
	}
	return "✗"
}

// versus is a row that compares two sides.
type versus struct {
	what string
	bar  bar
	tail float64 // how many times the peer's p99 ours may be; 0 where nothing is promised of it
	open func(*stage) (ours, peer side, err error)
}

func (v versus) name() string { return v.what }

func (v versus) measure(ctx context.Context, o options) (_ string, err error) {
	s, err := newStage()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	ours, peer, err := v.open(s)
	if err != nil {
		return "", err
	}
	m, err := v.rounds(ctx, o, ours, peer)
	if err == nil && o.profiles != "" {
		err = errors.Join(v.profile(ctx, o, "ours", ours), v.profile(ctx, o, "peer", peer))
	}
	return m, err
}

// rounds takes turns. The first of each side warms up and does not count.
func (v versus) rounds(ctx context.Context, o options, ours, peer side) (string, error) {
	var a, b []sample
	var ratios, tails []float64
	for i := range o.rounds + 1 {
		x, y, err := turn(ctx, o.round, ours, peer, i%2 == 1)
		if err != nil {
			return "", err
		}
		if i > 0 {
			a, b, ratios = append(a, x), append(b, y), append(ratios, v.bar.of(x, y))
			tails = append(tails, float64(x.p99)/float64(y.p99))
		}
	}
	slices.Sort(ratios)
	ratio, bar, holds := ratios[len(ratios)/2], v.bar.String(), v.bar.holds(ratios[len(ratios)/2])
	shown := fmt.Sprintf("%.2f (%.2f–%.2f)", ratio, ratios[len(ratios)/4], ratios[len(ratios)*3/4])
	if v.tail > 0 {
		slices.Sort(tails)
		tail := tails[len(tails)/2]
		shown, bar, holds = fmt.Sprintf("%s; p99 %.2f", shown, tail), fmt.Sprintf("%s; p99 ≤ %.2f ×", bar, v.tail), holds && tail <= v.tail
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s |", v.what, v.show(a), v.show(b), shown, bar, verdict(holds)), nil
}

func turn(ctx context.Context, d time.Duration, ours, peer side, swap bool) (x, y sample, err error) {
	if swap {
		y, x, err = turn(ctx, d, peer, ours, false)
		return x, y, err
	}
	if x, err = ours.round(ctx, d); err != nil {
		return x, y, fmt.Errorf("ours: %w", err)
	}
	if y, err = peer.round(ctx, d); err != nil {
		return x, y, fmt.Errorf("the peer: %w", err)
	}
	return x, y, nil
}

// show is the median round.
func (v versus) show(samples []sample) string {
	slices.SortFunc(samples, func(a, b sample) int { return cmp.Compare(a.each, b.each) })
	m := samples[len(samples)/2]
	each := span(m.each)
	if rate := float64(time.Second) / float64(m.each); v.bar.throughput && rate > 100 {
		each = fmt.Sprintf("%.0f/s", rate)
	}
	if v.tail > 0 {
		each += ", p99 " + span(m.p99)
	}
	return fmt.Sprintf("%s, %s CPU, %.0f allocs", each, span(m.cpu), m.allocs)
}

// span is a time in a unit that suits it.
func span(d time.Duration) string {
	if d >= 100*time.Millisecond {
		return fmt.Sprintf("%.2f s", d.Seconds())
	}
	return fmt.Sprintf("%.1f µs", float64(d)/float64(time.Microsecond))
}

var unspeakable = regexp.MustCompile(`[^a-z0-9]+`)

// profile runs a side once more, for long enough to see something, and writes its CPU profile, and one of its allocations.
func (v versus) profile(ctx context.Context, o options, name string, s side) error {
	file := unspeakable.ReplaceAllString(strings.ToLower(v.what), "-") + "." + name + ".pprof"
	if err := os.MkdirAll(o.profiles, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(o.profiles, file))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	_, err = s.round(ctx, 10*o.round)
	pprof.StopCPUProfile()
	return errors.Join(err, allocations(ctx, o, s, strings.TrimSuffix(f.Name(), ".pprof")+".allocs.pprof"))
}

// allocations runs a side for a round, and writes a profile of all that is allocated: see go tool pprof -alloc_objects.
func allocations(ctx context.Context, o options, s side, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	defer func(before int) { runtime.MemProfileRate = before }(runtime.MemProfileRate)
	runtime.MemProfileRate = 1
	if _, err := s.round(ctx, o.round); err != nil {
		return err
	}
	runtime.GC() // A profile has what was allocated until the last one.
	return pprof.Lookup("allocs").WriteTo(f, 0)
}
