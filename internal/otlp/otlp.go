// Package otlp sends spans to a collector of OpenTelemetry, by OTLP, as the standard environment variables say.
package otlp

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Open returns a provider that sends spans as the variables OTEL_… say, nil where they ask for none: where there is neither
// OTEL_TRACES_EXPORTER nor any OTEL_EXPORTER_OTLP_…, or OTEL_TRACES_EXPORTER is none, or OTEL_SDK_DISABLED is true. The service
// has that name unless OTEL_SERVICE_NAME has another. Spans wait in a queue, 2,048 unless OTEL_BSP_MAX_QUEUE_SIZE says
// otherwise; beyond, they are dropped, and nobody waits. What fails later, OpenTelemetry's own error handler hears.
// Shutdown of the provider sends what is left.
func Open(ctx context.Context, service string) (*trace.TracerProvider, error) {
	wanted, err := wanted(os.Environ())
	if err != nil || !wanted {
		return nil, err
	}
	collector, err := known()
	if err != nil {
		return nil, err
	}
	exporter, err := otlptrace.New(ctx, newClient(collector)) // It does not connect.
	if err != nil {
		return nil, err
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(semconv.ServiceName(service)), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(about)), nil
}

// wanted reports whether the environment asks for spans.
func wanted(environment []string) (bool, error) {
	said := map[string]string{}
	for _, e := range environment {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasPrefix(name, "OTEL_EXPORTER_OTLP_") && value != "" { // An empty one is as none, says the specification.
			said["OTEL_TRACES_EXPORTER"] = cmp.Or(said["OTEL_TRACES_EXPORTER"], "otlp")
		}
		said[name] = cmp.Or(value, said[name])
	}
	if strings.EqualFold(said["OTEL_SDK_DISABLED"], "true") {
		return false, nil
	}
	switch e := said["OTEL_TRACES_EXPORTER"]; e {
	case "otlp":
		return true, nil
	case "none", "":
		return false, nil
	default:
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER: %q is not known: use otlp or none", e)
	}
}
