package page

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/webpath"
)

const (
	// maxForm is how many bytes a browser may send of a form. Beyond: answered 413.
	maxForm = 8 << 10

	// shownRecords is how many decisions the page begins with.
	shownRecords = 30
)

// Options configure the page. All are required.
type Options struct {
	// ServerName is the homeserver's.
	ServerName string

	// Modules returns the state of all modules. Config returns whether the running configuration is the file's.
	Modules func() []operatordoor.ModuleStatus
	Config  func() operatordoor.ConfigStatus

	// Records has the records of decisions.
	Records *records.Recorder

	// Metrics count answers and failures of modules. They are read every ten seconds.
	Metrics prometheus.Gatherer

	// Guard says who may read.
	Guard *access.Guard

	// Life ends live connections when busd drains.
	Life *door.Life

	// Log gets a line for what the page cannot show.
	Log zerolog.Logger
}

// Page serves the page. It implements [door.Served]. Its methods may be called concurrently.
type Page struct {
	door.Stateless
	Options
	minutes *minutes
	board   board
	viewers chan struct{} // holds one entry for each browser that follows
	closed  door.Phase    // begins with Close: nothing is counted any more
	counter sync.WaitGroup
}

// New returns the page, closed.
func New(o Options) *Page {
	p := &Page{Options: o, minutes: newMinutes(), viewers: make(chan struct{}, maxViewers), closed: door.NewPhase()}
	p.board.page, p.board.version = p, uint64(time.Now().UnixMilli()) // Later than those of an earlier run.
	return p
}

// Open implements [door.Door]. From now on, it counts.
func (p *Page) Open() error {
	p.counter.Go(func() { p.count(p.closed) })
	return nil
}

// Close implements [door.Door].
func (p *Page) Close() {
	p.closed.Begin()
	p.counter.Wait()
}

const (
	signInPath  = "/sign-in"
	signOutPath = "/sign-out"
	assetsPath  = "/assets/"
)

// Routes implements [door.Served].
func (p *Page) Routes() []door.Route {
	read := func(path string, endless bool, h http.HandlerFunc) door.Route {
		return door.Route{
			In: webpath.Bus, Path: path, Method: http.MethodGet, Needs: access.Read, Endless: endless, Deny: p.Deny, Handler: p.untilDrain(h),
		}
	}
	open := func(method, path, why string, h http.HandlerFunc) door.Route {
		return door.Route{In: webpath.Bus, Path: path, Method: method, Open: why, Deny: p.Deny, Handler: p.untilDrain(h)}
	}
	return []door.Route{
		read("/{$}", false, p.overview),
		read("/explain", false, p.explain),
		read("/live", true, p.live),
		open(http.MethodPost, signInPath, "a token is shown there", p.signIn),
		open(http.MethodPost, signOutPath, "it ends what a token began", p.signOut),
		open(http.MethodGet, assetsPath, "a style and a script, and nothing of this busd", asset),
	}
}

// untilDrain ends a request when busd drains, and limits the time for reading a form.
func (p *Page) untilDrain(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, release := p.Life.UntilDrain(r.Context())
		defer release()
		if r.Method == http.MethodPost { // Otherwise the limit would end a live connection.
			defer p.Life.LimitReading(w, door.BodyTime)()
		}
		next(w, r.WithContext(ctx))
	}
}

// count keeps the counts of the last minutes, until ctx ends.
func (p *Page) count(ctx context.Context) {
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	for {
		p.minutes.take(p.Metrics, p.Log)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// frame is what all pages have.
type frame struct {
	ServerName, Title, Nonce string
	Key                      string // what the script shows
	Signed                   bool   // the browser can sign out
	Content                  any
}

//go:embed files
var files embed.FS

var templates = template.Must(template.New("").Funcs(functions).ParseFS(files, "files/*.html"))

// show answers with a page.
func (p *Page) show(w http.ResponseWriter, r *http.Request, status int, name, title string, content any) {
	f := frame{ServerName: p.ServerName, Title: title, Nonce: rand.Text(), Content: content}
	if name != "sign-in.html" {
		f.Key = p.Guard.Key()
	}
	f.Signed = p.Guard.Signed(r) && name != "sign-in.html"
	var body bytes.Buffer
	if err := templates.ExecuteTemplate(&body, name, f); err != nil {
		p.Log.Error().Err(err).Str("page", name).Msg("cannot show a page")
		http.Error(w, "busd cannot show this page; its log says why", http.StatusInternalServerError)
		return
	}
	protect(w.Header(), f.Nonce)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // It fails only when the client is gone.
}

// look reads the present state.
func (p *Page) look() (*head, []module) {
	h, modules := &head{Config: p.Config()}, []module{}
	for _, s := range p.Modules() {
		m := newModule(s, p.minutes.last(s.Name))
		if m.State != roster.Unlisted {
			h.Modules++
			if m.Tone != "good" {
				h.Troubled = append(h.Troubled, m.Name)
			}
		}
		modules = append(modules, m)
	}
	return h, modules
}

// protect sets header fields with which the browser loads only the page's own script and style, shows the page in no
// frame, keeps no copy, and sends no referrer.
func protect(h http.Header, nonce string) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+nonce+"'; style-src 'nonce-"+nonce+"'; connect-src 'self'; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "noopener-allow-popups") // Otherwise a module's page of the same origin could open this one, and look into it.
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

func asset(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, webpath.Bus.Path(assetsPath))
	if name != "page.css" && name != "page.js" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeFileFS(w, r, files, "files/"+name) //nolint:gosec // It is one of two names.
}
