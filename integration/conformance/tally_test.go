package conformance_test

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tally counts what agrees. Its methods may be called concurrently.
type tally struct {
	mu      sync.Mutex
	rows    map[group]*agreement
	classes map[string]int
	errors  []string
}

type group struct{ synapse, callback string }

func (r *vector) group() group { return group{r.Synapse, r.Callback} }

type agreement struct {
	of, agree int
	classes   map[string]int
}

func newTally() *tally { return &tally{rows: map[group]*agreement{}, classes: map[string]int{}} }

func (t *tally) add(p *performance) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.rows[p.group()]
	if c == nil {
		c = &agreement{classes: map[string]int{}}
		t.rows[p.group()] = c
	}
	c.of++
	if len(p.differences) == 0 {
		c.agree++
		return
	}
	class := classOf(p)
	if class == nil {
		t.errors = append(t.errors, p.String())
		return
	}
	c.classes[class.name]++
	t.classes[class.name]++
}

// String says what is wrong with a performance.
func (p *performance) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:\n", p.ID)
	for _, d := range p.differences {
		fmt.Fprintf(&b, "%s: %s\n", d.what, d.text)
	}
	return b.String()
}

const shown = 20 // differences that are told in full

// check fails the test if anything differs that should not.
func (t *tally) check(tb testing.TB) {
	tb.Helper()
	for _, text := range t.errors[:min(shown, len(t.errors))] {
		tb.Error(text)
	}
	if len(t.errors) > shown {
		tb.Errorf("and %d more", len(t.errors)-shown)
	}
}

// report prints the tally, and checks it. All classes must have occurred, unless it is another directory than ours.
func (t *tally) report(tb testing.TB) {
	tb.Helper()
	t.check(tb)
	for _, c := range classes {
		if t.classes[c.name] == 0 && directory() == vectorsDir {
			tb.Errorf("class %s has no records any more", c.name)
		}
	}
	t.print(tb.Output())
}

func (t *tally) print(w io.Writer) {
	rows := slices.SortedFunc(maps.Keys(t.rows), func(a, b group) int {
		return strings.Compare(a.synapse+" "+a.callback, b.synapse+" "+b.callback)
	})
	var of, agree int
	fmt.Fprintf(w, "%-8s %-40s %5s / %5s\n", "synapse", "callback", "agree", "of")
	for _, row := range rows {
		c := t.rows[row]
		of, agree = of+c.of, agree+c.agree
		fmt.Fprintf(w, "%-8s %-40s %5d / %5d%s\n", row.synapse, row.callback, c.agree, c.of, listed(c.classes))
	}
	fmt.Fprintf(w, "%-8s %-40s %5d / %5d; by design %d, errors %d\n", "all", "", agree, of, of-agree-len(t.errors), len(t.errors))
	for _, c := range classes {
		fmt.Fprintf(w, "%5d %s: %s\n", t.classes[c.name], c.name, c.reason)
	}
}

func listed(classes map[string]int) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		all = append(all, fmt.Sprintf("%s %d", name, classes[name]))
	}
	if len(all) == 0 {
		return ""
	}
	return "  (" + strings.Join(all, ", ") + ")"
}
