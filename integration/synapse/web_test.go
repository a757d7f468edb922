//go:build integration

package synapse_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"net/http"
	"testing"
)

// TestSynapseServesWebResources has a module's web resources under Synapse's own listener.
func TestSynapseServesWebResources(t *testing.T) { //nolint:paralleltest // servers enough for a small machine
	st := busStage(t, "")
	st.s.start(t)
	body := make([]byte, 3<<20)
	_, _ = rand.Read(body) // It never fails.
	r := st.s.nobody().do(t, "PUT", "/_synapse/client/scripted/some%2Fpath?a=b%20c", body)
	if r.status != http.StatusAccepted || !bytes.Equal(r.raw, body) {
		t.Errorf("status %d and %d bytes; want 202 and the %d that were sent", r.status, len(r.raw), len(body))
	}
	if got := r.header.Get("X-Method") + " " + r.header.Get("X-Path"); got != "PUT /_synapse/client/scripted/some%2Fpath?a=b%20c" {
		t.Errorf("the module saw %s", got)
	}
	if r := st.s.nobody().do(t, "HEAD", "/_synapse/client/scripted", nil); r.status != http.StatusAccepted || len(r.raw) != 0 {
		t.Errorf("HEAD: status %d and %d bytes", r.status, len(r.raw))
	}
	// What the module answers is 202: Synapse itself answers the preflight of a page from elsewhere.
	r = st.s.nobody().do(t, "OPTIONS", "/_synapse/client/scripted", nil)
	if r.status != http.StatusNoContent || r.header.Get("Access-Control-Allow-Origin") != "*" || r.header.Get("X-Method") != "" {
		t.Errorf("OPTIONS: status %d and %v; want Synapse's own 204", r.status, r.header)
	}

	rsp, err := http.Get(st.s.url + "/_synapse/client/scripted/ticks")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(rsp.Body)
	for range 3 {
		if !lines.Scan() || lines.Text() != "tick" {
			t.Fatalf("a response that goes on for ever: %q (%v)", lines.Text(), lines.Err())
		}
	}
	_ = rsp.Body.Close() // Closing is what the module is to hear of.
	if st.told(t, "ticks", "") != "told" {
		t.Error("the module does not hear that the client is gone")
	}

	st.d.Stop()
	if r := st.s.nobody().do(t, "GET", "/_synapse/client/scripted", nil); r.status != http.StatusBadGateway {
		t.Errorf("without busd: %v", r)
	}
}
