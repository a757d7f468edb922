// Command synapsebench measures what a module costs a real Synapse: how many messages per second Synapse takes with a check in
// a module of the bus. It compares that with the same check in Synapse's own process, behind synapse-http-antispam, and in a
// module of the bus whose bridge asks with Twisted's Agent. The last shows whether the bridge needs its own HTTP client.
//
//	make bench-synapse                            # all rows, five minutes
//	make bench-synapse ARGS="-run 'one module'"    # those that match
//	make bench-synapse ARGS='-rounds 1'           # measures nothing well, but shows that all of it works
//
// It needs Linux, and in MODULEBUS_PYTHON a Python that has Synapse and synapse-http-antispam.
//
// Each arrangement has a Synapse of its own, on SQLite and without rate limits, and the check in another process unless
// it is in Synapse's. An unmodified module is in one and the same Synapse twice, in its process and out of it, and one of the
// two is switched off, because two Synapses that do the same differ by up to a tenth. Each client sends into a room of its
// own, one message after the other. Arrangements take turns, one round each, while the others idle: a machine that is
// busy for a while is so for all. The table shows the median round of each side, and the ratios of throughput and of
// CPU: the median of those of the rounds, and the interval around it that has the true one in 95 of 100 runs. Rounds are
// short and many, because two sides are compared more exactly when one follows the other sooner.
//
// A number counts only if the check was made: each arrangement must refuse what the check is against, and the messages of each
// round are compared with the checks that the modules counted. Nothing about time is asserted.
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
	"strings"
	"time"
)

func main() {
	playRole()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	o := options{match: pattern{regexp.MustCompile("")}}
	flag.IntVar(&o.rounds, "rounds", 25, "rounds of each arrangement")
	flag.DurationVar(&o.round, "round", time.Second, "how long one round takes")
	flag.TextVar(&o.match, "run", o.match, "measure the comparisons whose names match the regular expression")
	flag.Parse()
	_, err := run(ctx, o, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "synapsebench:", err)
		os.Exit(1)
	}
}

// options are what the flags say.
type options struct {
	rounds int
	round  time.Duration
	match  pattern
}

// pattern is a regular expression as a flag.
type pattern struct{ *regexp.Regexp }

// run measures the comparisons that match, and prints the lines of each as soon as there are some.
func run(ctx context.Context, o options, stdout, stderr io.Writer) (results []result, err error) {
	peers, err := versions(ctx)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(stdout, "%s; %s %s/%s, GOMAXPROCS %d; %d rounds of %v for each side, in turns; medians; "+
		"CPU is that of Synapse's process, for each message.\n\n| what | ours | the peer | ratio | bar | |\n|---|---|---|---|---|---|\n",
		peers, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), o.rounds, o.round)
	for _, c := range comparisons {
		if !o.match.MatchString(c.name()) {
			continue
		}
		r, err := c.measure(ctx, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name(), err)
		}
		results = append(results, r)
		fmt.Fprintln(stdout, strings.Join(r.lines(), "\n"))
		fmt.Fprintln(stderr, time.Now().Format(time.TimeOnly), c.name())
	}
	if o.match.MatchString(hanging.name()) {
		const most = 3 // Each starts three Synapses.
		line, err := hanging.line(ctx, min(o.rounds, most))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", hanging.name(), err)
		}
		fmt.Fprintln(stdout, line)
	}
	return results, nil
}

// python is the interpreter that has Synapse.
func python() string { return os.Getenv("MODULEBUS_PYTHON") }

// versions names what the bus is held against.
func versions(ctx context.Context) (string, error) {
	const script = `from importlib.metadata import version as v
print("Synapse", v("matrix-synapse"), "on SQLite, synapse-http-antispam", v("synapse-http-antispam"), end="")`
	out, err := output(ctx, python(), "-c", script)
	if err != nil {
		return "", fmt.Errorf("MODULEBUS_PYTHON must be a Python with Synapse and synapse-http-antispam: %w", err)
	}
	return out, nil
}
