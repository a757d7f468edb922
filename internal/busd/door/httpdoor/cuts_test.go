package httpdoor_test

import (
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/door/httpdoor"
	"github.com/modulebus/modulebus/internal/waittest"
)

// cut sends this to a server with these times, and returns what it counted when it has closed the connection.
func cut(t *testing.T, header, idle time.Duration, sent string, log io.Writer) prometheus.Collector {
	t.Helper()
	server := &http.Server{ReadHeaderTimeout: header, IdleTimeout: idle, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, counter := httpdoor.Watched(server, l, zerolog.New(log))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, sent); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, c) // Until the server closes it.
	return counter
}

// counts are the values of a counter, by its label.
func counts(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, m := range families[0].GetMetric() {
		all[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	return all
}

func TestConnectionsThatAreCutAreCounted(t *testing.T) {
	t.Parallel()
	const request, soon, late = "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 50 * time.Millisecond, time.Hour
	for name, c := range map[string]struct {
		header, idle time.Duration
		sent         string
		headers      float64
		idles        float64
	}{
		"silence":              {soon, late, "", 1, 0},
		"half a header":        {soon, late, request[:9], 1, 0},
		"no second request":    {late, soon, request, 0, 1},
		"an end that was told": {late, late, strings.Replace(request, "Host: x", "Host: x\r\nConnection: close", 1), 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said := &waittest.Log{}
			counter := cut(t, c.header, c.idle, c.sent, said)
			if got, want := counts(t, counter), map[string]float64{"header": c.headers, "idle": c.idles}; !maps.Equal(got, want) {
				t.Errorf("counted %v, want %v", got, want)
			}
			if n := said.Count("no whole header"); float64(n) != c.headers {
				t.Errorf("the log says so %d times", n)
			}
		})
	}
}
