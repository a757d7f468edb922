package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	playRole()
	status := m.Run()
	connections.CloseIdleConnections()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

// A throughput without the check is not what is compared.
func TestAMessageThatOneModuleDidNotCheckIsAnError(t *testing.T) {
	t.Parallel()
	counted := map[string]int{"/first": 12, "/second": 11}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, counted[r.URL.Path]) }))
	defer s.Close()
	c := &contender{pages: []string{s.URL + "/first", s.URL + "/second"}}
	if err := c.compare(t.Context(), 10, []int64{2, 1}); err != nil {
		t.Error(err)
	}
	err := c.compare(t.Context(), 10, []int64{2, 2})
	if err == nil || !strings.Contains(err.Error(), "10 messages, but 9 checks at "+s.URL+"/second") {
		t.Error(err)
	}
}

// The ranks are those of tables of the sign test.
func TestIntervalIsThatOfTheSignTest(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{1: 0, 5: 0, 6: 1, 10: 2, 15: 4, 25: 8, 100: 40} {
		if got := lowRank(n); got != want {
			t.Errorf("of %d samples it begins at the %d., not the %d.", n, got, want)
		}
	}
}
