package door

import (
	"net/http"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/webpath"
)

// Route is one of busd's own paths over HTTP, and its handler.
type Route struct {
	In      webpath.Prefix
	Path    string       // below In, as [http.ServeMux] has it
	Tree    bool         // the route has all paths below it, also unclean ones, which [http.ServeMux] would redirect
	Method  string       // the only method; empty for any
	Needs   access.Scope // the scope that a token must have
	Open    string       // why it needs no token; empty if it needs one
	Local   bool         // it needs no token on loopback, for monitoring on the same machine
	Always  bool         // it is also answered while busd drains
	Endless bool         // the response lasts as long as the client stays
	Traced  bool         // it leads to asks, and is part of a trace
	Started bool         // it is answered only when it is known what modules want to be asked

	// Deny answers a request without permission. It is for pages, which a browser that is signed in may read. Default: a
	// Matrix error is the answer.
	Deny func(w http.ResponseWriter, r *http.Request, denial *access.Denial)

	Handler http.HandlerFunc
}

// Methods are the methods that the route answers; nil for any. A route for GET also answers HEAD, as clients may expect
// (RFC 9110, section 9.3.2); net/http leaves out the body.
func (r Route) Methods() []string {
	switch {
	case r.Method == "":
		return nil
	case r.Method == http.MethodGet && !r.Endless:
		return []string{http.MethodGet, http.MethodHead}
	}
	return []string{r.Method}
}

// Pattern is the route's path, as [http.ServeMux] has it.
func (r Route) Pattern() string {
	if r.Tree {
		return r.In.Path(r.Path) + "/"
	}
	return r.In.Path(r.Path)
}

// Takes reports whether a path belongs to the route, which must be a Tree.
func (r Route) Takes(path string) bool {
	parent := r.In.Path(r.Path)
	return r.Tree && webpath.Below(path, parent) && path != parent
}
