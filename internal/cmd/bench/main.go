// Command bench measures what modulebus promises: how it compares with what one would use instead, side by side.
//
//	go run -C internal/cmd/bench .                   # all rows, some minutes
//	go run -C internal/cmd/bench . -run 'ask.*128'   # those that match
//	go run -C internal/cmd/bench . -profile profiles  # profiles too, for each side of each row
//	go run -C internal/cmd/bench . -quick            # measures nothing well, but shows that all of it works
//
// Both sides of a row run in this process, on the same embedded NATS server over TCP, in turns: one round of ours, one
// of the peer's, the other way round next time. A machine that is busy for a while is so for both. The table shows the
// median round of each side, and as ratio the median of the ratios of the rounds; p99 where something is promised of it.
// Nothing about time is asserted: it exits 1 only when something does not work.
//
// It is a module of its own, so that what it needs (gRPC) is not required of users of modulebus.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	if isWorker() {
		exit(work(ctx))
	}
	o := options{rounds: 15, round: 400 * time.Millisecond}
	quick := flag.Bool("quick", false, "one short round of each row")
	flag.TextVar(&o.match, "run", pattern{regexp.MustCompile("")}, "measure the rows whose names match the regular expression")
	flag.StringVar(&o.profiles, "profile", "", "write profiles of CPU and allocations, of each side of each row, into this folder")
	flag.IntVar(&o.rounds, "rounds", o.rounds, "rounds of each side")
	flag.DurationVar(&o.round, "round", o.round, "how long one round takes")
	flag.Parse()
	if *quick {
		o.rounds, o.round = 1, 10*time.Millisecond
	}
	err := run(ctx, o, os.Stdout, os.Stderr)
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options are what the flags say.
type options struct {
	rounds   int
	round    time.Duration
	match    pattern
	profiles string
}

// pattern is a regular expression as a flag.
type pattern struct{ *regexp.Regexp }

// run measures the rows that match, and prints a line for each as soon as there is one.
func run(ctx context.Context, o options, stdout, stderr io.Writer) error {
	_, err := fmt.Fprintf(stdout, "%s %s/%s, GOMAXPROCS %d; %d rounds of %v for each side, in turns; medians; allocations are the whole process's.\n\n"+
		"| what | ours | the peer | ratio | bar | |\n|---|---|---|---|---|---|\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), o.rounds, o.round)
	if err != nil {
		return err
	}
	for _, r := range rows() {
		if !o.match.MatchString(r.name()) {
			continue
		}
		line, err := r.measure(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name(), err)
		}
		if _, err := fmt.Fprintln(stdout, line); err != nil {
			return err
		}
		fmt.Fprintln(stderr, time.Now().Format(time.TimeOnly), r.name())
	}
	return nil
}
