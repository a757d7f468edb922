//go:build integration

package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestEachMessageIsChecked has every arrangement do what is measured, and asserts nothing about time.
func TestEachMessageIsChecked(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	o := options{rounds: 1, round: time.Second, match: pattern{regexp.MustCompile("")}}
	results, err := run(t.Context(), o, &stdout, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(comparisons) {
		t.Errorf("%d results of %d comparisons", len(results), len(comparisons))
	}
	for _, r := range results {
		for _, c := range r.contenders {
			r.verify(t, c)
		}
		for _, line := range r.lines() {
			if !strings.Contains(stdout.String(), line) {
				t.Errorf("the table does not have %s", line)
			}
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
