package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/modulebus/modulebus/modulekit"
)

// Paths below the resource.
const (
	bulkPath = resource + "/bulk"  // sends ?n= bytes, or takes what it is sent
	idlePath = resource + "/idle"  // says one thing, and stays
	pagePath = resource + "/small" // the page
)

// streams is the resource of the rows about bodies. It tells, if anybody wants to know, when a request was left.
func streams(left chan<- time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+bulkPath, func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		_, _ = io.CopyN(w, zeros{}, n) // It fails only when the client is gone.
	})
	mux.HandleFunc("POST "+bulkPath, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	mux.HandleFunc(idlePath, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: hello\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		select {
		case left <- time.Now():
		default:
		}
	})
	mux.HandleFunc(pagePath, page)
	return mux
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// pair serves the same handler behind the tunnel and behind a reverse proxy, and returns both URLs.
func pair(s *stage, h http.Handler) (ours, peer string, err error) {
	home, err := newHomeserver(s, "example.com", "module")
	if err != nil {
		return "", "", err
	}
	if err = home.module("module", func(api *modulekit.ModuleAPI) { api.RegisterWebResource(resource, h) }); err != nil {
		return "", "", err
	}
	if ours, err = s.serve(home.client.Handler()); err != nil {
		return "", "", err
	}
	back, err := s.serve(h)
	if err != nil {
		return "", "", err
	}
	to, err := url.Parse(back)
	if err != nil {
		return "", "", err
	}
	peer, err = s.serve(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to); r.SetXForwarded() },
		Transport: s.httpClient(128).Transport,
	})
	return ours, peer, err
}

// bulk compares how long a body takes. Bodies are that large only in a measurement that counts.
type bulk struct {
	what   string
	upload bool
	inside bool // NATS is in the gateway's process
	apart  bool // gateway and module find no way but NATS, as on two machines
}

func (b bulk) name() string { return b.what }

func (b bulk) measure(ctx context.Context, o options) (_ string, err error) {
	size := int64(1 << 30)
	rounds := 5
	if o.rounds == 1 {
		size, rounds = 1<<20, 1
	}
	if b.apart {
		defer away()()
	}
	s, err := newStage()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.inside = b.inside
	ours, peer, err := pair(s, streams(nil))
	if err != nil {
		return "", err
	}
	c := s.httpClient(1)
	v := versus{what: b.what, bar: b.bar()}
	one := func(base string) side {
		return side{1, func(ctx context.Context) error { return b.transfer(ctx, c, base, size) }}
	}
	o.rounds, o.round = rounds, time.Nanosecond // Once each.
	m, err := v.rounds(ctx, o, one(ours), one(peer))
	if err == nil && o.profiles != "" {
		err = errors.Join(v.profile(ctx, o, "ours", one(ours)), v.profile(ctx, o, "peer", one(peer)))
	}
	return m, err
}

// away lets nobody find a gateway's socket until back is called.
func away() (back func()) {
	const name = "TMPDIR"
	before, there := os.LookupEnv(name)
	_ = os.Setenv(name, os.DevNull) // The name is right.
	return func() {
		_ = os.Unsetenv(name)
		if there {
			_ = os.Setenv(name, before) // As above.
		}
	}
}

func (b bulk) bar() bar {
	if b.apart {
		return atLeast(0.4) // Each byte passes NATS.
	}
	return atLeast(1.2)
}

// transfer sends or gets a body.
func (b bulk) transfer(ctx context.Context, c *http.Client, base string, size int64) error {
	return b.transferTo(ctx, c, base, size, io.Discard, func() {})
}

// transferTo writes the response's body to a writer. It calls begun when something of it is there.
func (b bulk) transferTo(ctx context.Context, c *http.Client, base string, size int64, to io.Writer, begun func()) error {
	method, body := http.MethodGet, io.Reader(nil)
	if b.upload {
		method, body = http.MethodPost, io.LimitReader(zeros{}, size)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+bulkPath+"?n="+strconv.FormatInt(size, 10), body)
	if err != nil {
		return err
	}
	if b.upload {
		req.ContentLength = size
	}
	rsp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	first, err := io.ReadFull(rsp.Body, make([]byte, 1))
	if err != nil {
		return err
	}
	begun()
	n, err := io.Copy(to, rsp.Body)
	n += int64(first)
	if err == nil && (rsp.StatusCode != http.StatusOK || !b.upload && n != size) {
		err = fmt.Errorf("status %d, %d bytes", rsp.StatusCode, n)
	}
	return err
}
