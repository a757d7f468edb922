package modulekittest

import (
	"net/http"

	"github.com/modulebus/modulebus/internal/webpath"
)

// router serves web resources by path.
type router map[string]http.Handler

// ServeHTTP implements [http.Handler].
func (web router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h, ok := webpath.Longest(web, r.URL.Path); ok {
		h.ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}
