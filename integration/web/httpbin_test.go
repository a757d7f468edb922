//go:build integration

package web_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"testing"
)

const httpbin = "github.com/mccutchen/go-httpbin/v2@v2.26.0"

// TestSuiteHTTPBin runs go-httpbin's own tests: streams, ranges, trailers, events, redirects, WebSocket.
func TestSuiteHTTPBin(t *testing.T) { //nolint:paralleltest // its tests measure time
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", httpbin).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	binary := compile(t, module.Dir, "./httpbin", overlay(t))
	once := func(addr string) (top, all int, failed []string) {
		cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.timeout=5m")
		cmd.Dir, cmd.Env = module.Dir+"/httpbin", append(os.Environ(), "HTTPTEST_TUNNEL="+addr)
		out, _ := cmd.CombinedOutput() // What fails is counted.
		count := func(pattern string) int { return len(regexp.MustCompile(pattern).FindAll(out, -1)) }
		return count(`(?m)^--- PASS`), count(`(?m)^ *--- PASS`), regexp.MustCompile(`--- FAIL: \S+`).FindAllString(string(out), -1)
	}
	results := func(addr string) (top, all int, failed []string) {
		for range 3 { // Some of its tests measure time.
			if top, all, failed = once(addr); len(failed) == 0 {
				break
			}
		}
		return top, all, failed
	}
	top, all, _ := results("")
	t.Logf("go-httpbin: on their own %d pass, %d with what they are made of", top, all)
	plainTop, plainAll, _ := results(tunneld(t, plainHop))
	t.Logf("behind httputil.ReverseProxy %d, %d", plainTop, plainAll)
	gotTop, gotAll, failed := results(tunneld(t, tunnelHop(t)))
	t.Logf("behind the tunnel %d, %d", gotTop, gotAll)
	if len(failed) > 0 || gotTop < top || gotAll < all {
		t.Errorf("these fail behind the tunnel: %v", failed)
	}
}
