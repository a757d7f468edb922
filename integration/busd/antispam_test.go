package busd_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// antispamServer is one that refuses evil users. It answers pings, and calls first before it answers anything else.
func antispamServer(t *testing.T, first func(*http.Request)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.HasSuffix(r.URL.Path, "/ping") {
			first(r)
		}
		if strings.Contains(string(body), "evil") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"errcode":"ORG.EXAMPLE.NO","error":"not here"}`)
			return
		}
		_, _ = io.WriteString(w, "{}")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestAntispamServerThatIsSlowIsAskedAgain has the server never answer the first question.
func TestAntispamServerThatIsSlowIsAskedAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	url := antispamServer(t, func(r *http.Request) {
		if asked.Add(1) == 1 {
			<-r.Context().Done()
		}
	})
	d := testbed.Serve(t, fmt.Sprintf(`
budget: 2m
modules:
  - module: server
    antispam: {base_url: '%s/x', callbacks: [user_may_create_room]}
    timeout: 1m
    hedge: 10ms
`, url))
	testbed.Eventually(t, "the server has two workers", func() bool { return d.Module("server").Workers == 2 })
	d.Module("server") // Before busd lists modules again, what asks knows of both.
	if v := d.Create("@evil:example.com"); v.Answer == nil || v.Answer.Refusal.Errcode != "ORG.EXAMPLE.NO" || asked.Load() != 2 {
		t.Errorf("%v, and the server was asked %d times", v, asked.Load())
	}
	if n := d.Measured("modulebus_hedged_requests_total"); n != 1 {
		t.Errorf("%v second requests are counted", n)
	}
}

func TestAntispamServerInShadowIsRecordedAndNeverCounts(t *testing.T) {
	t.Parallel()
	d := testbed.Serve(t, fmt.Sprintf(`
modules:
  - module: server
    antispam: {base_url: '%s/x', callbacks: [user_may_create_room]}
    timeout: 1m
    shadow: true
`, antispamServer(t, func(*http.Request) {})))
	for _, user := range []string{"@good:example.com", "@evil:example.com"} {
		if v := d.Create(user); v.Status != http.StatusOK || v.Answer != nil {
			t.Errorf("%s: %v", user, v)
		}
	}
	said := ""
	testbed.Eventually(t, "busd shadow has both asks", func() bool {
		_, said, _ = testbed.Run(t, "shadow", "server", "--url", d.URL)
		return strings.Contains(said, "spam_checker.user_may_create_room  2     1 ")
	})
	if !strings.Contains(said, "was no opinion, would be refused by server") {
		t.Errorf("busd shadow says\n%s", said)
	}
}
