package main

import (
	"bytes"
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if isWorker() {
		exit(work(context.Background()))
	}
	os.Exit(m.Run())
}

// TestQuick runs every row once, and asserts nothing about time.
func TestQuick(t *testing.T) { //nolint:paralleltest // It counts allocations of the whole process.
	var stdout, stderr bytes.Buffer
	o := options{rounds: 1, round: 10 * time.Millisecond, match: pattern{regexp.MustCompile("")}, profiles: t.TempDir()}
	if err := run(t.Context(), o, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	for _, r := range rows() {
		if !strings.Contains(stdout.String(), r.name()) {
			t.Errorf("no line for %q", r.name())
		}
	}
}
