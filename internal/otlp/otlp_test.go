package otlp_test

import (
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/otlp"
)

// TestVariableThatCannotBeReadIsNamedAndNotShown has secrets in variables, and a mistake in each.
func TestVariableThatCannotBeReadIsNamedAndNotShown(t *testing.T) {
	const endpoint, headers = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"
	for _, tt := range []struct{ name, value string }{
		{endpoint, "http://busd:s3cret@collector:port"},
		{headers, "authorization: Bearer s3cret"},
		{headers, "tenant=a,authorization=Bearer%s3cret"},
		{headers, "s3cret token=a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(endpoint, "http://127.0.0.1:4318")
			t.Setenv(tt.name, tt.value)
			p, err := otlp.Open(t.Context(), "test")
			if p != nil || err == nil || !strings.Contains(err.Error(), tt.name) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%q: %v, %v", tt.value, p, err)
			}
		})
	}
	t.Setenv(endpoint, " http://127.0.0.1:4318")
	t.Setenv(headers, " tenant=a%2Cb, authorization=Bearer c2VjcmV0=,")
	p, err := otlp.Open(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
