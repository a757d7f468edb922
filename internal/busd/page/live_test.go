package page_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/waittest"
)

var all decision.Filter

// browser is one that follows: what it was sent, and whether it takes more.
type browser struct {
	t      *testing.T
	header http.Header
	over   chan struct{}

	mu    sync.Mutex
	takes *sync.Cond
	stall bool
	text  bytes.Buffer
	code  int
}

func (b *browser) Header() http.Header { return b.header }

func (b *browser) WriteHeader(code int) { b.mu.Lock(); defer b.mu.Unlock(); b.code = code }

func (b *browser) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.stall {
		b.takes.Wait()
	}
	return b.text.Write(p)
}

func (b *browser) Flush() {}

func (b *browser) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

func (b *browser) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.text.String() }

func (b *browser) stalls(is bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stall = is
	b.takes.Broadcast()
}

func (b *browser) until(texts ...string) {
	b.t.Helper()
	waittest.Until(b.t, "a browser is sent "+strings.Join(texts, ", "), func() bool {
		for _, text := range texts {
			if !strings.Contains(b.String(), text) {
				return false
			}
		}
		return true
	})
}

func (b *browser) ended() {
	b.t.Helper()
	select {
	case <-b.over:
	case <-time.After(waittest.Patience):
		b.t.Fatal("the stream does not end")
	}
}

// follow has a browser follow until ctx ends.
func (b *busd) follow(ctx context.Context, last string) *browser {
	b.t.Helper()
	return b.followAt(ctx, "/_modulebus/live?version=0", last)
}

func (b *busd) followAt(ctx context.Context, path, last string) *browser {
	b.t.Helper()
	br := &browser{t: b.t, header: http.Header{}, over: make(chan struct{}), code: http.StatusOK}
	br.takes = sync.NewCond(&br.mu)
	r := httptest.NewRequestWithContext(ctx, "GET", path, nil)
	r.Header.Set("Authorization", "Bearer looks")
	r.Header.Set("Last-Event-ID", last)
	go func() { defer close(br.over); b.handler.ServeHTTP(br, r) }()
	b.t.Cleanup(func() { br.stalls(false); <-br.over })
	return br
}

func TestLiveSendsWhatIsNew(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := newBusd(t)
	b.has(operatordoor.ConfigStatus{}, gate(func(*operatordoor.ModuleStatus) {}))
	br := b.follow(ctx, "")
	br.until("event: modules", `id="module-gate"`, `id="head"`)
	b.decided("gate", "")
	br.until("event: decisions\nid: "+b.last(), "refused by gate")
	b.has(operatordoor.ConfigStatus{}, gate(func(m *operatordoor.ModuleStatus) { m.State, m.LastError = roster.Failed, "gone" }))
	br.until("event: part\ndata: <li id=\"module-gate\"", "gone", "Not well")
	b.has(operatordoor.ConfigStatus{Error: "nonsense"}, gate(func(m *operatordoor.ModuleStatus) { m.State, m.LastError = roster.Failed, "gone" }))
	br.until("nonsense")
	if n := strings.Count(br.String(), "event: modules"); n != 1 {
		t.Errorf("all modules were sent %d times", n)
	}
	b.has(operatordoor.ConfigStatus{}, gate(func(m *operatordoor.ModuleStatus) { m.Name = "other" }))
	br.until(`id="module-other"`)
	cancel()
	br.ended()
}

var missedEvent = regexp.MustCompile(`event: missed\ndata: (\d+)\n`)

// TestLiveBrowserThatStallsMissesDecisions has a browser take nothing while more decisions are made than it is sent at once, and
// more than there is memory for.
func TestLiveBrowserThatStallsMissesDecisions(t *testing.T) {
	t.Parallel()
	const made = 10000
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := newBusd(t)
	br := b.follow(ctx, "")
	br.until(`id="head"`)
	br.stalls(true)
	for range made {
		b.decided("gate", "") // It would block here, if a browser could hold anybody up.
	}
	br.stalls(false)
	br.until(b.last())
	missed := 0
	for _, m := range missedEvent.FindAllStringSubmatch(br.String(), -1) {
		n, _ := strconv.Atoi(m[1])
		missed += n
	}
	if shown := strings.Count(br.String(), "<tr "); shown+missed != made {
		t.Errorf("%d decisions were shown, and %d missed, of %d", shown, missed, made)
	}
	cancel()
	br.ended()
}

// TestLiveGoesOnAfterTheLastDecision has a browser connect after the one decision it knows: again, or after it has got the page.
func TestLiveGoesOnAfterTheLastDecision(t *testing.T) {
	t.Parallel()
	b := newBusd(t)
	b.decided("first", "")
	known := b.last()
	b.decided("second", "")
	for how, follow := range map[string]func(context.Context) *browser{
		"again":    func(ctx context.Context) *browser { return b.followAt(ctx, "/_modulebus/live?after=d-0", known) },
		"at first": func(ctx context.Context) *browser { return b.followAt(ctx, "/_modulebus/live?after="+known, "") },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		br := follow(ctx)
		br.until("refused by second")
		if strings.Contains(br.String(), "refused by first") {
			t.Errorf("%s, what it knows was sent:\n%s", how, br)
		}
		cancel()
		br.ended()
	}
}

func TestLiveEndsWhenTheTokenIsTakenAway(t *testing.T) {
	t.Parallel()
	b := newBusd(t)
	br := b.follow(t.Context(), "")
	br.until(`id="head"`)
	if err := os.WriteFile(b.token, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	br.ended()
}

func TestLiveIsForAFew(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := newBusd(t)
	for range 64 {
		b.follow(ctx, "").until(`id="head"`)
	}
	late := b.follow(ctx, "")
	late.ended()
	if late.code != http.StatusServiceUnavailable || !strings.Contains(late.String(), "too many browsers follow") {
		t.Errorf("%d %s", late.code, late)
	}
	cancel()
}
