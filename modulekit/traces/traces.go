// Package traces sends a module's spans to an OpenTelemetry collector, by OTLP:
//
//	modulekit.Main(modulekit.Module[Config]{New: …, TracerProvider: traces.Provider("gate")})
//
// It is a package of its own so that modules without it need no SDK.
package traces

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/modulebus/modulebus/internal/otlp"
)

// Provider returns a provider for [modulekit.Module] that sends spans as the standard variables say:
// OTEL_EXPORTER_OTLP_ENDPOINT and those related to it, OTEL_TRACES_EXPORTER (otlp or none), OTEL_TRACES_SAMPLER,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_SDK_DISABLED. If none is set, or if they ask for no spans, it returns nil.
// OTEL_SERVICE_NAME replaces the given name of the service.
//
// It does not block. While the collector cannot be reached, spans are lost, and nothing else happens. Errors in the
// variables, or of sending, go to OpenTelemetry's error handler, which writes to stderr unless otel.SetErrorHandler has
// set another.
//
// A module that busd runs gets the variables of busd that its entry in busd.yaml lists under environment.
//
// [modulekit.Module]: https://pkg.go.dev/github.com/modulebus/modulebus/modulekit#Module
func Provider(service string) trace.TracerProvider {
	p, err := otlp.Open(context.Background(), service)
	if err != nil {
		otel.Handle(err)
	}
	if p == nil {
		return nil
	}
	return p
}
