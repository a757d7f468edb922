package operatordoor_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/internal/waittest"
)

// ask asks about a user, and returns the answer's decision_id.
func ask(d *doortest.HTTP, user string) string {
	d.T.Helper()
	rsp, err := d.Browser.Post(d.URL+createRoom, "application/json", strings.NewReader(`{"user_id":"`+user+`"}`))
	if err != nil {
		d.T.Fatal(err)
	}
	defer rsp.Body.Close()
	var answer struct {
		ID string `json:"decision_id"`
	}
	if err := json.NewDecoder(rsp.Body).Decode(&answer); err != nil {
		d.T.Fatal(err)
	}
	return answer.ID
}

// get returns the status and the body.
func get(d *doortest.HTTP, path string) (int, string) {
	d.T.Helper()
	rsp, err := d.Browser.Get(d.URL + path)
	if err != nil {
		d.T.Fatal(err)
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	if err != nil {
		d.T.Fatal(err)
	}
	return rsp.StatusCode, string(body)
}

const createRoom = "/_modulebus/v1/ask/spam_checker/user_may_create_room"

func parse[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func TestDecisionHasARecord(t *testing.T) {
	t.Parallel()
	d := doortest.New(t).Serve(config.HTTP{})
	d.Life.Begin()
	id := ask(d, "@evil:example.com")
	status, body := get(d, "/_modulebus/v1/decisions/"+id)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	want := decision.Record{
		ID: id, Callback: "spam_checker.user_may_create_room", Outcome: "refused", DecidedBy: "gate", BudgetMS: 120_000,
		RosterRevision: d.Client.Roster().GetRevision(),
		Modules:        []decision.Module{{Module: "gate", Worker: "1", GivenMS: 60_000, Said: "refusal", Errcode: "M_FORBIDDEN", Counted: true}},
	}
	times := []cmp.Option{cmpopts.IgnoreFields(decision.Record{}, "Time", "MS"), cmpopts.IgnoreFields(decision.Module{}, "AskedAtMS", "MS")}
	if diff := cmp.Diff(want, parse[decision.Record](t, body), times...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, shape := range []string{`"by_policy":false`, `"asked_at_ms":0`, `"time":"20`, `Z","callback"`} {
		if !strings.Contains(body, shape) {
			t.Errorf("%s is not in %s", shape, body)
		}
	}
	if strings.Contains(body, "evil") {
		t.Error("the record says who was asked about:", body)
	}
}

func TestDecisionsAreFoundByWhatTheyAre(t *testing.T) {
	t.Parallel()
	d := doortest.New(t).Serve(config.HTTP{})
	d.Life.Begin()
	refused, silent, failed := ask(d, "@evil:example.com"), ask(d, "@alice:example.com"), ask(d, "@error:example.com")
	for query, want := range map[string][]string{
		"":                                       {failed, silent, refused},
		"?limit=1":                               {failed},
		"?outcome=refused":                       {refused},
		"?outcome=refused&outcome=no_opinion":    {silent, refused},
		"?failing=true":                          {failed},
		"?outcome=refused&failing=true":          {failed, refused},
		"?module=gate&since=1h":                  {failed, silent, refused},
		"?module=nobody":                         nil,
		"?callback=user_may_create_room&limit=2": {failed, silent},
		"?callback=user_may_invite":              nil,
		"?since=2999-01-01T00:00:00Z":            nil,
	} {
		_, body := get(d, "/_modulebus/v1/decisions"+query)
		var got []string
		for _, r := range parse[operatordoor.DecisionList](t, body).Decisions {
			got = append(got, r.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	for query, want := range map[string]string{
		"?outcome=refuse":  `did you mean refused?`,
		"?callback=nobody": `busd callbacks lists them`,
		"?since=yesterday": `try 1h`,
		"?limit=none":      `limit is not a number`,
		"/d-none":          `there is no record`,
		"/stream?since=x":  `try 1h`,
	} {
		if status, body := get(d, "/_modulebus/v1/decisions"+query); status/100 != 4 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %s", query, status, body, want)
		}
	}
}

func TestDecisionStreamHasWhatWasAndWhatComes(t *testing.T) {
	t.Parallel()
	d := doortest.New(t).Serve(config.HTTP{})
	d.Life.Begin()
	first := ask(d, "@evil:example.com")
	rsp, err := d.Browser.Get(d.URL + "/_modulebus/v1/decisions/stream?since=1h&outcome=refused")
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	lines := bufio.NewScanner(rsp.Body)
	next := func() string {
		t.Helper()
		for lines.Scan() {
			if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
				return id
			}
		}
		t.Fatal("the stream ended:", lines.Err())
		return ""
	}
	if got := next(); got != first {
		t.Errorf("first comes %s, want %s", got, first)
	}
	ask(d, "@alice:example.com")
	if second, got := ask(d, "@evil:example.com"), next(); got != second {
		t.Errorf("then comes %s, want %s", got, second)
	}
	if _, body := get(d, "/_modulebus/v1/decisions/stream?since=1h&follow=false"); strings.Count(body, "data: ") != 3 {
		t.Errorf("without follow:\n%s", body)
	}
}

// TestDecisionStreamEndsWithItsToken has the token replaced while somebody follows, who must not learn of what comes then.
func TestDecisionStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	file := doortest.TokenFile(t, "looks")
	d := doortest.New(t).Serve(config.HTTP{TokenFile: doortest.TokenFile(t, "asks"), Tokens: []config.Token{{File: file, Scopes: []string{config.ScopeRead}}}})
	d.Life.Begin()
	const path = "/_modulebus/v1/decisions/stream"
	r, err := http.NewRequestWithContext(t.Context(), "GET", d.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer looks")
	rsp, err := d.Browser.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if err := os.WriteFile(file, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the token is refused", func() bool {
		rsp, _ := d.Do("GET", "/_modulebus/v1/modules", nil, "Authorization", "Bearer looks")
		return rsp.StatusCode == http.StatusUnauthorized
	})
	d.Do("POST", doortest.CreatePath, doortest.User("evil"), "Authorization", "Bearer asks")
	doortest.Within(t, "the end of the stream", func() {
		if got, err := io.ReadAll(rsp.Body); err != nil || strings.Contains(string(got), "data:") {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// slow is a response that its client does not read before goOn is closed.
type slow struct {
	*httptest.ResponseRecorder
	begun chan<- struct{}
	goOn  <-chan struct{}
	until *time.Time // when it must have read
}

func (s slow) SetWriteDeadline(end time.Time) error {
	if !end.IsZero() {
		*s.until = end
	}
	return nil
}

func (s slow) Write(data []byte) (int, error) {
	s.begun <- struct{}{}
	<-s.goOn
	return s.ResponseRecorder.Write(data)
}

// TestFewRequestsForRecordsAreAnsweredAtOnce has as many clients that do not read as are answered at once. Another one waits, and is told
// so when its time is over; when they have read, it is answered.
func TestFewRequestsForRecordsAreAnsweredAtOnce(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/v1/decisions", "/v1/decisions/{id}"} {
		serve := handlerOf(t, path)
		begun, goOn := make(chan struct{}, operatordoor.MaxLookups), make(chan struct{})
		var all sync.WaitGroup
		for range operatordoor.MaxLookups {
			all.Go(func() {
				var until time.Time
				serve(slow{httptest.NewRecorder(), begun, goOn, &until}, httptest.NewRequest(http.MethodGet, path, http.NoBody))
				if until.IsZero() {
					t.Error(path, "waits for ever for a client that does not read")
				}
			})
		}
		for range operatordoor.MaxLookups {
			<-begun
		}
		over, end := context.WithCancel(t.Context())
		end()
		for _, c := range []struct {
			read bool
			ctx  context.Context
			busy bool
		}{{false, over, true}, {true, t.Context(), false}} {
			if c.read {
				close(goOn)
				all.Wait()
			}
			rsp := httptest.NewRecorder()
			serve(rsp, httptest.NewRequest(http.MethodGet, path, http.NoBody).WithContext(c.ctx))
			if busy := rsp.Code == http.StatusServiceUnavailable && rsp.Header().Get("Retry-After") != ""; busy != c.busy {
				t.Errorf("%s, when the others have read: %v: %d %s", path, c.read, rsp.Code, rsp.Body)
			}
		}
	}
}

// handlerOf returns the handler of a path, with records of its own.
func handlerOf(t *testing.T, path string) http.HandlerFunc {
	t.Helper()
	for _, d := range doortest.New(t).Options(config.HTTP{}).Doors {
		for _, r := range d.Routes() {
			if r.Path == path {
				return r.Handler
			}
		}
	}
	t.Fatalf("there is no %s", path)
	return nil
}
