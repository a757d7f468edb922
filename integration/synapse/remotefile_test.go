//go:build integration

package synapse_test

import (
	"strings"
	"testing"
)

// TestSynapseAsksAboutAFileOfAnotherServer has a user download a file of another server twice: one that passes is asked about
// once, one that a module refuses each time.
//
//nolint:paralleltest // servers enough for a small machine
func TestSynapseAsksAboutAFileOfAnotherServer(t *testing.T) {
	st := busStage(t, "")
	st.s.start(t)
	st.peer = startPeer(t)
	alice := st.newUser(t)
	asked := func() int { return len(st.calls(t, "check_media_file_for_spam", st.peer.s.name)) }
	for _, c := range []struct {
		what, entry, status string
		questions           int
	}{{"passes", silent, "200", 1}, {"is refused", `{"reply": {"refusal": {}}}`, "404", 2}} {
		uri := st.peer.carol.must(t, "POST", "/_matrix/media/v3/upload", []byte("a file that "+c.what)).str("content_uri")
		st.say(t, map[string]string{"check_media_file_for_spam": c.entry})
		before := asked()
		for range 2 {
			got := alice.do(t, "GET", "/_matrix/client/v1/media/download/"+strings.TrimPrefix(uri, "mxc://"), nil).String()
			if !strings.HasPrefix(got, c.status) {
				t.Errorf("a file that %s: %s, want %s", c.what, got, c.status)
			}
		}
		if n := asked() - before; n != c.questions {
			t.Errorf("a file that %s, downloaded twice: %d questions, want %d", c.what, n, c.questions)
		}
	}
}
