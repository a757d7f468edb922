package busd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/registry"
)

const (
	maxBody    = 1 << 20 // bytes of a request message
	protobuf   = "application/x-protobuf"
	retryAfter = "1" // seconds
)

// front is the HTTP door.
type front struct {
	desk     desk
	client   *bus.Client
	registry *registry.Registry
	metrics  prometheus.Gatherer
	token    []byte // its SHA-256; nil when none is needed
	alive    func() bool
	begun    <-chan struct{} // closed when homeservers may ask
	draining atomic.Bool
	refused  atomic.Int64  // requests turned away while draining
	drained  chan struct{} // closed when draining begins: who waits for news is let go
}

// drain turns new requests away from now on.
func (f *front) drain() {
	f.draining.Store(true)
	close(f.drained)
}

// untilDrain is ctx that ends when draining begins, too.
func (f *front) untilDrain(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		select {
		case <-f.drained:
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// handler routes what is busd's own, and hands the rest to the modules.
func (f *front) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/_modulebus/v1/ask/{category}/{callback}", f.guarded(http.MethodPost, f.started(http.HandlerFunc(f.ask))))
	mux.HandleFunc("/_modulebus/v1/wants", f.guarded(http.MethodGet, f.started(http.HandlerFunc(f.wants))))
	mux.HandleFunc("/_modulebus/v1/modules", f.guarded(http.MethodGet, f.modules))
	mux.HandleFunc("/_modulebus/", f.guarded("", unrecognizedPath))
	mux.HandleFunc("/healthz", f.health)
	mux.HandleFunc("/readyz", f.ready)
	mux.Handle("/metrics", promhttp.HandlerFor(f.metrics, promhttp.HandlerOpts{}))
	modules := f.open(f.started(f.client.Handler()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ownPath(r.URL.Path) {
			mux.ServeHTTP(w, r)
			return
		}
		modules.ServeHTTP(w, r) // Not through the mux, which redirects paths that it would write otherwise.
	})
}

func ownPath(path string) bool {
	return strings.HasPrefix(path, "/_modulebus/") || path == "/healthz" || path == "/readyz" || path == "/metrics"
}

func unrecognizedPath(w http.ResponseWriter, _ *http.Request) {
	writeProblem(w, &problem{Errcode: unrecognized, Text: "Unrecognized request", status: http.StatusNotFound})
}

// open turns requests away while busd drains.
func (f *front) open(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.draining.Load() {
			f.refused.Add(1)
			w.Header().Set("Connection", "close")
			turnAway(w, "busd is shutting down")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// started turns requests away while it is not known yet what modules want to be asked: without that, all is allowed.
func (f *front) started(next http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !isClosed(f.begun) {
			turnAway(w, "busd is starting, and its modules have not joined yet; /_modulebus/v1/modules tells of them")
			return
		}
		next.ServeHTTP(w, r)
	}
}

func turnAway(w http.ResponseWriter, text string) {
	w.Header().Set("Retry-After", retryAfter)
	writeProblem(w, &problem{Errcode: unknown, Text: text, status: http.StatusServiceUnavailable})
}

// guarded wants the token, if there is one, and the method, if there is one.
func (f *front) guarded(method string, next http.HandlerFunc) http.HandlerFunc {
	return f.open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p := f.authenticate(r); p != nil {
			writeProblem(w, p)
			return
		}
		if method != "" && r.Method != method {
			w.Header().Set("Allow", method)
			writeProblem(w, &problem{Errcode: unrecognized, Text: "use " + method, status: http.StatusMethodNotAllowed})
			return
		}
		next(w, r)
	})).ServeHTTP
}

// authenticate compares digests, in constant time.
func (f *front) authenticate(r *http.Request) *problem {
	if f.token == nil {
		return nil
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return &problem{Errcode: "M_MISSING_TOKEN", Text: "send Authorization: Bearer with the token of http.token_file", status: http.StatusUnauthorized}
	}
	if got := sha256.Sum256([]byte(token)); subtle.ConstantTimeCompare(got[:], f.token) != 1 {
		return &problem{Errcode: "M_UNKNOWN_TOKEN", Text: "this is not the token of http.token_file", status: http.StatusUnauthorized}
	}
	return nil
}

func (f *front) ask(w http.ResponseWriter, r *http.Request) {
	ctx, cancel, p := deadline(r)
	if p != nil {
		writeProblem(w, p)
		return
	}
	defer cancel()
	//nolint:contextcheck // It is the request's, or ends earlier.
	out, inJSON, p := f.askIn(ctx, w, r, r.PathValue("category")+"."+r.PathValue("callback"))
	switch {
	case p != nil && r.Context().Err() != nil: // Nobody is there to read it.
	case p != nil:
		writeProblem(w, p)
	case inJSON:
		write(w, http.StatusOK, "application/json", out)
	default:
		write(w, http.StatusOK, protobuf, out)
	}
}

// askIn asks in the form that the request has: JSON, protobuf, or either of them with a file.
func (f *front) askIn(ctx context.Context, w http.ResponseWriter, r *http.Request, name string) (out []byte, inJSON bool, p *problem) {
	if mediaType(r) == "multipart/form-data" {
		return f.askUpload(ctx, w, r, name)
	}
	inJSON = mediaType(r) != protobuf
	body, p := readBody(w, r)
	if p == nil {
		out, p = f.desk.answer(ctx, name, body, inJSON)
	}
	return out, inJSON, p
}

func mediaType(r *http.Request) string {
	t, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(t))
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *problem) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		text := "the body is larger than " + strconv.Itoa(maxBody) + " bytes"
		return nil, &problem{Errcode: "M_TOO_LARGE", Text: text, status: http.StatusRequestEntityTooLarge}
	case err != nil:
		return nil, &problem{Errcode: "M_NOT_JSON", Text: "the body is cut", status: http.StatusBadRequest}
	}
	return body, nil
}

// deadline is the caller's own, if it sent one.
func deadline(r *http.Request) (context.Context, context.CancelFunc, *problem) {
	text := r.Header.Get("X-Modulebus-Timeout")
	if text == "" {
		return r.Context(), func() {}, nil
	}
	timeout, err := config.ParseDuration(text)
	if err != nil || timeout <= 0 {
		text := "X-Modulebus-Timeout is not a duration (try 500ms)"
		return nil, nil, &problem{Errcode: "M_INVALID_PARAM", Text: text, status: http.StatusBadRequest}
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	return ctx, cancel, nil
}

func (f *front) modules(w http.ResponseWriter, _ *http.Request) {
	modules := append([]registry.Status{}, f.registry.Modules()...)
	writeJSON(w, http.StatusOK, map[string]any{"roster_revision": f.client.Roster().GetRevision(), "modules": modules})
}

// health says whether this process can do its work: it has NATS.
func (f *front) health(w http.ResponseWriter, _ *http.Request) {
	if !f.alive() {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"healthy": false, "error": "NATS is away"})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"healthy": true})
}

// ready says whether homeservers should ask here: not while busd starts, a module of the roster is missing, or busd
// drains.
func (f *front) ready(w http.ResponseWriter, _ *http.Request) {
	missing := notReady(f.registry.Modules())
	if f.draining.Load() || !isClosed(f.begun) || !f.alive() || len(missing) > 0 {
		writeJSON(w, http.StatusServiceUnavailable, map[string]any{"ready": false, "not_ready": append([]registry.Status{}, missing...)})
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"ready": true})
}

func notReady(all []registry.Status) (missing []registry.Status) {
	for _, m := range all {
		if m.State != registry.Ready && m.State != registry.Unlisted {
			missing = append(missing, m)
		}
	}
	return missing
}

func writeProblem(w http.ResponseWriter, p *problem) {
	write(w, p.status, "application/json", p.body())
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := marshalPlain(v)
	if err != nil {
		p := &problem{Errcode: unknown, Text: err.Error(), status: http.StatusInternalServerError}
		status, body = p.status, p.body()
	}
	write(w, status, "application/json", body)
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // It fails only when the client is gone.
}

// marshalPlain is [json.Marshal] that leaves <, > and & as they are.
func marshalPlain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
