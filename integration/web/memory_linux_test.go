//go:build integration

package web_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/integration/testbed"
)

// memories is how many memories this process shares with workers.
func memories(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "memfd:modulebus")
}

// TestWebLargeResponsesLieInSharedMemory has each way in which a large response may end, and counts what is left of it.
//
//nolint:paralleltest // It counts what the process has.
func TestWebLargeResponsesLieInSharedMemory(t *testing.T) {
	s := newSite(t, bus.Options{}, "faulty")
	begin := func() *http.Response {
		rsp, err := s.ask(t, "GET", "/f/stream?declared", "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(rsp.Body, make([]byte, 4<<20)); err != nil {
			t.Fatal(err)
		}
		if n := memories(t); n != 1 {
			t.Errorf("%d memories are shared", n)
		}
		return rsp
	}
	end := func(how string) {
		testbed.Eventually(t, how+", and nothing is left", func() bool { return memories(t) == 0 })
	}
	f := s.start(t)
	if whole, err := s.through(testbed.Bounded(t), noise(8<<20)); !whole || err != nil {
		t.Errorf("it came back whole: %v; %v", whole, err)
	}
	end("it is whole")
	_ = begin().Body.Close()
	end("the client leaves")
	rsp := begin()
	f.signal(t, syscall.SIGSTOP)
	stopped := time.Now()
	if _, err := io.Copy(io.Discard, rsp.Body); err == nil {
		t.Error("the worker is stopped, and the response looks whole")
	}
	end("the worker is stopped")
	t.Logf("the client of a stopped worker knew after %v", time.Since(stopped))
	f.signal(t, syscall.SIGCONT)
	rsp = begin()
	f.kill(t)
	if _, err := io.Copy(io.Discard, rsp.Body); err == nil {
		t.Error("the worker is killed, and the response looks whole")
	}
	end("the worker is killed")
	f = s.start(t)
	testbed.Eventually(t, "the new worker answers, since the roster may still have the one that was killed", func() bool {
		return s.status(t, "GET", "/f/pid") == http.StatusOK
	})
	rsp = begin()
	s.client.Close()
	if _, err := io.Copy(io.Discard, rsp.Body); err == nil {
		t.Error("the gateway is closed, and the response looks whole")
	}
	end("the gateway is closed")
	t.Log(f.hears(t, "ended: "))
}
