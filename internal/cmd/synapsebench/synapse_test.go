//go:build integration

package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestEachMessageIsChecked has the arrangements of modules of our own do what is measured, and asserts nothing about time. A
// module of Synapse out of its process is what other suites try; here it would take minutes.
func TestEachMessageIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range comparisons {
		if c.way != "" {
			continue
		}
		t.Run(c.name(), func(t *testing.T) {
			t.Parallel()
			c.isChecked(t)
		})
	}
}

// isChecked measures one round of the comparison.
func (c comparison) isChecked(t *testing.T) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	o := options{rounds: 1, round: time.Second, match: pattern{regexp.MustCompile("^" + regexp.QuoteMeta(c.name()) + "$")}}
	results, err := run(t.Context(), o, &stdout, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 1 {
		t.Fatalf("%d results", len(results))
	}
	for _, k := range results[0].contenders {
		results[0].verify(t, k)
	}
	for _, line := range results[0].lines() {
		if !strings.Contains(stdout.String(), line) {
			t.Errorf("the table does not have %s", line)
		}
	}
}

// verify wants each client to have sent, and each module to have checked all of that.
func (r result) verify(t *testing.T, c *contender) {
	t.Helper()
	modules := int64(r.modules)
	if c.name == nothing.name {
		modules = 0
	}
	if c.sent < int64(r.clients) || c.checked != modules*c.sent {
		t.Errorf("%s, %s: %d messages, %d checks by %d modules", r.name(), c.name, c.sent, c.checked, modules)
	}
}
