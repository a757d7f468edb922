package door_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/waittest"
)

// ask asks about a user, and returns the answer's decision_id.
func (d *httpDoor) ask(user string) string {
	d.t.Helper()
	rsp, err := d.client.Post(d.url+createRoom, "application/json", strings.NewReader(`{"user_id":"`+user+`"}`))
	if err != nil {
		d.t.Fatal(err)
	}
	defer rsp.Body.Close()
	var answer struct {
		ID string `json:"decision_id"`
	}
	if err := json.NewDecoder(rsp.Body).Decode(&answer); err != nil {
		d.t.Fatal(err)
	}
	return answer.ID
}

// get returns the status and the body.
func (d *httpDoor) get(path string) (int, string) {
	d.t.Helper()
	rsp, err := d.client.Get(d.url + path)
	if err != nil {
		d.t.Fatal(err)
	}
	defer rsp.Body.Close()
	body, err := io.ReadAll(rsp.Body)
	if err != nil {
		d.t.Fatal(err)
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
	d := newHouse(t).openHTTP(config.HTTP{})
	d.life.Begin()
	id := d.ask("@evil:example.com")
	status, body := d.get("/_modulebus/v1/decisions/" + id)
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	want := decision.Record{
		ID: id, Callback: "spam_checker.user_may_create_room", Outcome: "refused", DecidedBy: "gate", BudgetMS: 120_000,
		RosterRevision: d.house.client.Roster().GetRevision(),
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
	d := newHouse(t).openHTTP(config.HTTP{})
	d.life.Begin()
	refused, silent, failed := d.ask("@evil:example.com"), d.ask("@alice:example.com"), d.ask("@error:example.com")
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
		_, body := d.get("/_modulebus/v1/decisions" + query)
		var got []string
		for _, r := range parse[door.DecisionList](t, body).Decisions {
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
		if status, body := d.get("/_modulebus/v1/decisions" + query); status/100 != 4 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %s", query, status, body, want)
		}
	}
}

func TestDecisionStreamHasWhatWasAndWhatComes(t *testing.T) {
	t.Parallel()
	d := newHouse(t).openHTTP(config.HTTP{})
	d.life.Begin()
	first := d.ask("@evil:example.com")
	rsp, err := d.client.Get(d.url + "/_modulebus/v1/decisions/stream?since=1h&outcome=refused")
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
	d.ask("@alice:example.com")
	if second, got := d.ask("@evil:example.com"), next(); got != second {
		t.Errorf("then comes %s, want %s", got, second)
	}
	if _, body := d.get("/_modulebus/v1/decisions/stream?since=1h&follow=false"); strings.Count(body, "data: ") != 3 {
		t.Errorf("without follow:\n%s", body)
	}
}

// TestDecisionStreamEndsWithItsToken has the token replaced while somebody follows, who must not learn of what comes then.
func TestDecisionStreamEndsWithItsToken(t *testing.T) {
	t.Parallel()
	file := tokenFile(t, "looks")
	d := newHouse(t).openHTTP(config.HTTP{TokenFile: tokenFile(t, "asks"), Tokens: []config.Token{{File: file, Scopes: []string{config.ScopeRead}}}})
	d.life.Begin()
	const path = "/_modulebus/v1/decisions/stream"
	r, err := http.NewRequestWithContext(t.Context(), "GET", d.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer looks")
	rsp, err := d.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if err := os.WriteFile(file, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	waittest.Until(t, "the token is refused", func() bool {
		rsp, _ := d.do("GET", "/_modulebus/v1/modules", nil, "Authorization", "Bearer looks")
		return rsp.StatusCode == http.StatusUnauthorized
	})
	d.do("POST", createPath, user("evil"), "Authorization", "Bearer asks")
	within(t, "the end of the stream", func() {
		if got, err := io.ReadAll(rsp.Body); err != nil || strings.Contains(string(got), "data:") {
			t.Errorf("%q, %v", got, err)
		}
	})
}
