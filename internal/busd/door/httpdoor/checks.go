package httpdoor

import (
	"net/http"
	"slices"
	"strings"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/matrix"
)

// guarded checks what the route demands before its handler gets the request.
func (d *Door) guarded(r door.Route) http.Handler {
	next := http.Handler(r.Handler)
	switch {
	case r.Traced && r.Open != "":
		next = d.spanned(r.Pattern(), stranger, next)
	case r.Traced:
		next = d.spanned(r.Pattern(), caller, next)
	}
	if r.Started {
		next = d.started(next)
	}
	if r.Method != "" {
		next = only(r.Methods(), next)
	}
	next = d.allowed(r, next)
	if !r.Always {
		next = d.open(next)
	}
	return next
}

// open turns requests away while busd drains.
func (d *Door) open(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.Life.Draining() {
			d.refused.Add(1)
			w.Header().Set("Connection", "close")
			door.TurnAway(w, "busd is shutting down")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// started turns requests away while it is not known yet what modules want to be asked, because everything would be
// allowed then. It waits a moment first, so that clients get no error during the usual quick start.
func (d *Door) started(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.Life.AwaitBegin(r.Context()) {
			door.TurnAway(w, "busd is starting, and its modules have not joined yet; /_modulebus/v1/modules tells of them")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func only(methods []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			door.NewProblem(http.StatusMethodNotAllowed, matrix.Unrecognized, "use "+methods[0]).WriteTo(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allowed demands a token with the scope, if there are tokens, and refuses requests that another site's page causes:
// otherwise any page could use busd through a browser on a machine whose busd has no tokens. A page that opens the
// response in a window, such as a module's page at the same name and port, cannot look into it.
func (d *Door) allowed(to door.Route, next http.Handler) http.Handler {
	foreign := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to.Needs == access.Read {
			w.Header().Set("Cross-Origin-Opener-Policy", "noopener-allow-popups")
		}
		if err := foreign.Check(r); err != nil {
			door.NewProblem(http.StatusForbidden, matrix.Forbidden, "a page from elsewhere must not ask for this").WriteTo(w)
		} else if denial := d.denies(r, to); denial != nil {
			d.deny(w, r, denial, to)
		} else {
			next.ServeHTTP(w, r)
		}
	})
}

func (d *Door) denies(r *http.Request, to door.Route) *access.Denial {
	switch {
	case to.Local:
		return d.Guard.DeniesDetails(r)
	case to.Deny != nil && to.Needs == access.Read:
		return d.Guard.DeniesPage(r)
	}
	return d.Guard.Denies(r, to.Needs)
}

func (d *Door) deny(w http.ResponseWriter, r *http.Request, denial *access.Denial, to door.Route) {
	if to.Deny != nil {
		to.Deny(w, r, denial)
		return
	}
	if denial.Status == http.StatusUnauthorized {
		d.Guard.Challenge(w.Header(), r, to.Needs)
	}
	door.NewProblem(denial.Status, denial.Errcode, denial.Text).WriteTo(w)
}
