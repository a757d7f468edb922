package askdoor

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestServerNameThatDiffersIsLoggedOnce(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	d := New(Options{ServerName: "example.com", Log: zerolog.New(&logged)})
	for _, query := range []string{"", "?server_name=example.com", "?server_name=wrong.org", "?server_name=wrong.org"} {
		d.compareNames(httptest.NewRequest("GET", "/_modulebus/v1/wants"+query, nil))
	}
	if lines := strings.Count(logged.String(), "\n"); lines != 1 || !strings.Contains(logged.String(), "wrong.org") {
		t.Errorf("logged %d lines:\n%s", lines, &logged)
	}
}
