// Package traces has a module's spans sent to a collector of OpenTelemetry, by OTLP:
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

// Provider returns a provider for [modulekit.Module] that sends spans as the standard variables say: OTEL_EXPORTER_OTLP_ENDPOINT
// and its kin, OTEL_TRACES_EXPORTER (otlp or none), OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES, OTEL_SDK_DISABLED. It is nil
// where they ask for no spans, as where none is set. The service has that name unless OTEL_SERVICE_NAME has another.
//
// It does not block, and a collector that is away costs spans and nothing else. What is wrong with variables, or on the way to the
// collector, goes to OpenTelemetry's error handler, which writes to stderr unless otel.SetErrorHandler has been called.
//
// A module that busd runs gets those of busd's variables that its entry in busd.yaml names with environment.
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
