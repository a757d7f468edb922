package httpdoor

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// cuts counts the connections that are closed because a client sent nothing for too long. net/http closes them without
// a log line.
type cuts struct {
	counter *prometheus.CounterVec // by reason
	log     zerolog.Logger
}

func newCuts(log zerolog.Logger) *cuts {
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "modulebus", Name: "connections_cut_total", Help: "Connections that were closed because nothing came, by what was waited for.",
	}, []string{"reason"})
	for _, reason := range []string{"header", "idle"} { // An alert needs the series before the first count.
		counter.WithLabelValues(reason)
	}
	return &cuts{counter, log.Sample(&zerolog.BurstSampler{Burst: 1, Period: 10 * time.Second})}
}

// over returns a listener whose connections are watched.
func (c *cuts) over(l net.Listener) net.Listener { return watchedListener{l, c} }

type watchedListener struct {
	net.Listener
	cuts *cuts
}

// Accept implements [net.Listener].
func (l watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, err
	}
	w := &watched{TCPConn: tcp, cuts: l.cuts}
	w.reading.Store(true)
	return w, nil
}

// watched is a client's connection that notices a read's deadline. It keeps the methods of a TCP connection, which
// net/http and the tunnel use.
type watched struct {
	*net.TCPConn
	cuts    *cuts
	reading atomic.Bool // it waits for or reads a request's header
	idle    atomic.Bool // nothing of the next header has come
}

// turn notes the connection's new state.
func turn(c net.Conn, s http.ConnState) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	if w, ok := c.(*watched); ok {
		w.reading.Store(s == http.StateNew || s == http.StateIdle)
		w.idle.Store(s == http.StateIdle)
	}
}

// Read implements [net.Conn]. A deadline that passes within a request is not counted: net/http uses deadlines to end
// its own reads.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.TCPConn.Read(p)
	switch {
	case n > 0:
		w.idle.Store(false)
	case errors.Is(err, os.ErrDeadlineExceeded) && w.reading.Swap(false):
		w.cut()
	}
	return n, err
}

func (w *watched) cut() {
	if w.idle.Load() {
		w.cuts.counter.WithLabelValues("idle").Inc()
		return
	}
	w.cuts.counter.WithLabelValues("header").Inc()
	w.cuts.log.Warn().Stringer("from", w.RemoteAddr()).Msg("a connection was closed: no whole header of a request came within ten seconds")
}
