package redact_test

import (
	"net/http/httptest"
	"testing"

	"github.com/modulebus/modulebus/internal/redact"
)

func TestTextAboutARequestHasNoSecretOfIt(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("GET", "/form/public?access_token=syt_%22one%22&n=1", nil)
	r.RemoteAddr = "203.0.113.7:4711"
	r.Header.Set("X-Forwarded-For", "198.51.100.1, 198.51.100.2")
	r.Header.Set("Cookie", "session=from-a-cookie; theme=dark")
	r.Header.Set("User-Agent", "a browser")
	for text, want := range map[string]string{
		"no syt_\"one\" or syt_%22one%22":            "no [redacted] or [redacted]",
		"203.0.113.7 by 198.51.100.2":                "[redacted] by [redacted]",
		"[from-a-cookie]":                            "[[redacted]]",
		"/form/public is open to a browser, n is 1":  "/form/public is open to a browser, n is 1",
		"the text ends in the middle of from-a-cook": "the text ends in the middle of [redacted]",
		"": "",
	} {
		if got := redact.Request(text, r); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for user, password := range map[string]string{"basic": "a password"} {
		r.SetBasicAuth(user, password)
		if got, want := redact.Request("bad "+password, r), "bad [redacted]"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	r.Header.Set("Authorization", "Bearer syt_bearer")
	if got, want := redact.Request("bad syt_bearer", r), "bad [redacted]"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
