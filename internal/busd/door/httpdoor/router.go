package httpdoor

import (
	"net/http"
	"path"
	"slices"

	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/webpath"
)

// router passes requests to the routes of the doors, and all others to modules.
type router struct {
	own     []webpath.Prefix
	trees   []tree
	mux     *http.ServeMux
	modules http.Handler
}

// tree is a route for all paths below its own.
type tree struct {
	door.Route
	handler http.Handler
}

func newRouter(d *Door) *router {
	// Not through the mux, which redirects paths that are not clean.
	modules := d.open(d.started(d.spanned("web resources", d.visitor, d.Client.Handler())))
	to := &router{mux: http.NewServeMux(), modules: modules}
	for _, r := range d.Routes() {
		to.add(r, d.guarded(r))
	}
	return to
}

func (to *router) add(r door.Route, h http.Handler) {
	to.own = append(to.own, r.In)
	if r.Tree {
		to.trees = append(to.trees, tree{r, h})
	} else {
		to.mux.Handle(r.Pattern(), h)
	}
}

// ServeHTTP implements [http.Handler].
func (to *router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := r.URL.Path
	i := slices.IndexFunc(to.trees, func(t tree) bool { return t.Takes(at) })
	switch {
	case i >= 0:
		to.trees[i].handler.ServeHTTP(w, r)
	case !slices.ContainsFunc(to.own, func(p webpath.Prefix) bool { return p.Holds(at) }):
		to.modules.ServeHTTP(w, r)
	case unclean(at):
		unrecognizedPath(w, r) // The mux would redirect, and programs do not expect that.
	default:
		to.mux.ServeHTTP(w, r)
	}
}

// unclean reports whether a path has a segment that is empty, . or .. in it.
func unclean(p string) bool { return path.Clean(p) != p && path.Clean(p)+"/" != p }
