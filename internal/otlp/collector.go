package otlp

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// sendTime is how long a batch of spans may take, however often it is sent, unless OTEL_EXPORTER_OTLP_TIMEOUT says otherwise.
const sendTime = 10 * time.Second

// collector is who takes the spans, and in which form.
type collector struct {
	url     string
	grpc    bool
	gzip    bool
	header  http.Header
	timeout time.Duration // of a batch
	tls     *tls.Config
}

// variable is one of OTEL_EXPORTER_OTLP_…, and what it holds.
type variable struct{ name, value string }

// read returns the variable that is for traces alone, or the one for all that a program sends.
func read(name string) variable {
	const prefix = "OTEL_EXPORTER_OTLP_"
	if value := strings.TrimSpace(os.Getenv(prefix + "TRACES_" + name)); value != "" {
		return variable{prefix + "TRACES_" + name, value}
	}
	return variable{prefix + name, strings.TrimSpace(os.Getenv(prefix + name))}
}

// known returns the collector that the variables name, and else the specification: one on this machine. An error says which
// variable cannot be used, and not what it holds: in a URL may be a password, and in a header is a token.
func known() (c collector, err error) {
	switch p := read("PROTOCOL"); p.value {
	case "http/protobuf", "":
	case "grpc":
		c.grpc = true
	default:
		return c, fmt.Errorf("%s: %q is not known: use http/protobuf or grpc", p.name, p.value)
	}
	switch z := read("COMPRESSION"); z.value {
	case "none", "":
	case "gzip":
		c.gzip = true
	default:
		return c, fmt.Errorf("%s: %q is not known: use gzip or none", z.name, z.value)
	}
	if c.url, err = c.endpoint(); err != nil {
		return c, err
	}
	if c.header, err = read("HEADERS").header(); err != nil {
		return c, err
	}
	if c.timeout, err = read("TIMEOUT").milliseconds(); err != nil {
		return c, err
	}
	c.tls, err = trust()
	return c, err
}

// endpoint returns the URL that spans are sent to. An address without a scheme is one for gRPC over TLS.
func (c *collector) endpoint() (string, error) {
	said := read("ENDPOINT")
	text := said.value
	if c.grpc && text != "" && !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(cmp.Or(text, c.local()))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%s is not a URL: write one such as %s", said.name, c.local())
	}
	if insecure := read("INSECURE"); insecure.value != "" {
		u.Scheme = "https"
		if strings.EqualFold(insecure.value, "true") {
			u.Scheme = "http"
		}
	}
	u.RawQuery, u.Fragment = "", ""
	switch {
	case c.grpc:
		u.Path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
	case strings.HasSuffix(said.name, "TRACES_ENDPOINT"): // It is the URL itself.
		u.Path = cmp.Or(u.Path, "/")
	default:
		u.Path = path.Join("/", u.Path, "v1/traces")
	}
	return u.String(), nil
}

// local is where a collector of this machine listens.
func (c *collector) local() string {
	if c.grpc {
		return "http://127.0.0.1:4317"
	}
	return "http://127.0.0.1:4318"
}

// header returns the fields of a list: name=value, with commas between.
func (v variable) header() (http.Header, error) {
	h := http.Header{}
	for field := range strings.SplitSeq(v.value, ",") {
		if strings.TrimSpace(field) == "" {
			continue
		}
		name, value, ok := strings.Cut(field, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("%s is not a list of headers: write name=value, with commas between, and as %%2C a comma in a value", v.name)
		}
		h.Set(name, value)
	}
	return h, nil
}

func (v variable) milliseconds() (time.Duration, error) {
	if v.value == "" {
		return sendTime, nil
	}
	n, err := strconv.ParseInt(v.value, 10, 32)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%s: %q is not a number of milliseconds: write one such as 10000", v.name, v.value)
	}
	return time.Duration(n) * time.Millisecond, nil
}

// trust returns whose certificates are believed, and the certificate that is shown; nil where the variables say neither.
func trust() (*tls.Config, error) {
	roots, cert, key := read("CERTIFICATE"), read("CLIENT_CERTIFICATE"), read("CLIENT_KEY")
	if roots.value == "" && cert.value == "" {
		return nil, nil //nolint:nilnil // As the comment says.
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if roots.value != "" {
		text, err := os.ReadFile(roots.value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", roots.name, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: there is no certificate in %s", roots.name, roots.value)
		}
	}
	if cert.value != "" {
		pair, err := tls.LoadX509KeyPair(cert.value, key.value)
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", cert.name, key.name, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
