package door

import (
	"net/http"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/webpath"
)

// Route is a path of busd's own over HTTP, and what answers there.
type Route struct {
	In      webpath.Prefix
	Path    string       // below In, as [http.ServeMux] has it
	Tree    bool         // all below it is the route's, however it is written: [http.ServeMux] redirects what it would write otherwise
	Method  string       // the only one; empty for any
	Needs   access.Scope // what a token has to give
	Open    string       // why it needs no token; empty where it needs one
	Local   bool         // needs none on loopback: monitoring on the same machine reads it
	Always  bool         // is answered while busd drains, too
	Endless bool         // answers as long as the client stays, so that there is no answer without it
	Traced  bool         // leads to asks, and is part of a trace
	Started bool         // is answered only when it is known what modules want to be asked

	// Deny answers those that may not, of paths for people: a browser that is signed in may read them. Default: a Matrix error does.
	Deny func(w http.ResponseWriter, r *http.Request, denial *access.Denial)

	Handler http.HandlerFunc
}

// Methods are those that the route answers: HEAD like GET, as every client may expect (RFC 9110, section 9.3.2); net/http leaves
// out the body. It is nil for any.
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

// Takes reports whether a path belongs to a route with a tree.
func (r Route) Takes(path string) bool {
	parent := r.In.Path(r.Path)
	return r.Tree && webpath.Below(path, parent) && path != parent
}
