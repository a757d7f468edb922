package main

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/matrix-org/dendrite/userapi/api"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// exchange is one HTTP request as far as asks have to do with it: who makes it, and what it is answered in the place of
// what Dendrite makes of an error. Dendrite hands the request's context to its APIs, so decorators find it there. Its methods
// may be called on nil, which is work without a request.
type exchange struct {
	path string
	info *callbacksv1.RequestInfo

	mu     sync.Mutex // Dendrite may answer a join before it is over.
	device *api.Device
	login  login
	status int
	body   []byte
}

type exchangeKey struct{}

// exchangeOf returns the request that a context belongs to, or nil.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// aside returns a context whose objections are not told to the request's client: a transaction of federation has many events.
func aside(ctx context.Context) context.Context {
	return context.WithValue(ctx, exchangeKey{}, (*exchange)(nil))
}

// exchanges has requests carry an exchange.
func exchanges(next http.Handler, realIP string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{path: r.URL.Path, info: &callbacksv1.RequestInfo{Ip: clientIP(r, realIP)}}
		if agent := r.UserAgent(); agent != "" {
			x.info.UserAgent = &agent
		}
		next.ServeHTTP(&answerer{ResponseWriter: w, exchange: x}, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
	})
}

// clientIP is where a request comes from: what the operator's proxy says in the header that Dendrite's sync_api.real_ip_header
// names, or who connected.
func clientIP(r *http.Request, realIP string) string {
	if realIP != "" && r.Header.Get(realIP) != "" {
		return r.Header.Get(realIP)
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// tell has the client answered so, whatever Dendrite says. The first word counts.
func (x *exchange) tell(status int, body []byte) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.status == 0 {
		x.status, x.body = status, body
	}
}

func (x *exchange) told() (status int, body []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.status, x.body
}

// made notes whose request it is.
func (x *exchange) made(by *api.Device) {
	if x == nil {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.device = by
}

// by is who makes the request; nobody yet is an empty device.
func (x *exchange) by() *api.Device {
	if x != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.device != nil {
			return x.device
		}
	}
	return &api.Device{}
}

// admin reports whether a server admin makes the request.
func (x *exchange) admin() bool { return x.by().AccountType == api.AccountTypeAdmin }

// requestInfo is where the request came from.
func (x *exchange) requestInfo() []*callbacksv1.RequestInfo {
	if x == nil {
		return nil
	}
	return []*callbacksv1.RequestInfo{x.info}
}

// leaves reports whether the request is a logout, which who has expired may do.
func (x *exchange) leaves() bool {
	return x != nil && (strings.HasSuffix(x.path, "/logout") || strings.HasSuffix(x.path, "/logout/all"))
}

// answerer writes what the client was told, in the place of Dendrite's response.
type answerer struct {
	http.ResponseWriter

	exchange *exchange
	begun    bool
	silent   bool // The rest is Dendrite's words for it.
}

// Unwrap lets http.ResponseController reach what is below.
func (a *answerer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (a *answerer) WriteHeader(status int) {
	told, body := a.exchange.told()
	if a.begun = true; told == 0 {
		a.ResponseWriter.WriteHeader(status)
		return
	}
	a.silent = true
	a.Header().Set("Content-Type", "application/json")
	a.Header().Set("Content-Length", strconv.Itoa(len(body)))
	a.ResponseWriter.WriteHeader(told)
	_, _ = a.ResponseWriter.Write(body)
}

// Write implements [http.ResponseWriter].
func (a *answerer) Write(p []byte) (int, error) {
	if !a.begun {
		a.WriteHeader(http.StatusOK)
	}
	if a.silent {
		return len(p), nil
	}
	return a.ResponseWriter.Write(p)
}
