// Package otlp sends spans to a collector of OpenTelemetry, by OTLP, as the standard environment variables say.
package otlp

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"golang.org/x/net/http/httpguts"
)

// openTime is how long a collector may take when it is first turned to. No connection is waited for.
const openTime = 5 * time.Second

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
	if err := readable(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	exporter, err := exporter(ctx)
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

// readable says which variable cannot be read, and not what it holds: in a URL may be a password, and in a header is a token.
// OpenTelemetry would print it to stderr, and go without it.
func readable() error {
	for _, of := range []string{"", "TRACES_"} {
		endpoint, headers := "OTEL_EXPORTER_OTLP_"+of+"ENDPOINT", "OTEL_EXPORTER_OTLP_"+of+"HEADERS"
		if _, err := url.Parse(strings.TrimSpace(os.Getenv(endpoint))); err != nil {
			return fmt.Errorf("%s is not a URL: write one such as http://127.0.0.1:4318", endpoint)
		}
		for header := range strings.SplitSeq(os.Getenv(headers), ",") {
			if strings.TrimSpace(header) != "" && !isHeader(header) {
				return fmt.Errorf("%s is not a list of headers: write name=value, with commas between, and as %%2C a comma in a value", headers)
			}
		}
	}
	return nil
}

func isHeader(text string) bool {
	name, value, ok := strings.Cut(text, "=")
	_, err := url.PathUnescape(value)
	return ok && err == nil && httpguts.ValidHeaderFieldName(strings.TrimSpace(name))
}

func exporter(ctx context.Context) (*otlptrace.Exporter, error) {
	const variable = "OTEL_EXPORTER_OTLP_PROTOCOL"
	switch p := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv(variable), "http/protobuf"); p {
	case "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	default:
		return nil, fmt.Errorf("%s: %q is not known: use http/protobuf or grpc", variable, p)
	}
}
