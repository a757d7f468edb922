package door

import (
	"net/http"

	"github.com/modulebus/modulebus/internal/busd/access"
)

// Paths of the page for people that need no token.
const (
	SignInPath  = access.PagePath + "sign-in"
	SignOutPath = access.PagePath + "sign-out"
	AssetsPath  = access.PagePath + "assets/"
)

// Page is what people look at with a browser.
type Page interface {
	// ServeHTTP answers requests that may be answered. Their context ends when busd drains.
	http.Handler

	// Deny answers one that may not, and asks to sign in.
	Deny(w http.ResponseWriter, r *http.Request, denial *access.Denial)
}

func (d *HTTP) pageRoutes() []route {
	if d.Page == nil {
		return nil
	}
	return []route{
		{path: access.PagePath + "{$}", method: http.MethodGet, needs: access.Read, page: true, handler: d.page},
		{path: access.PagePath + "explain", method: http.MethodGet, needs: access.Read, page: true, handler: d.page},
		{path: access.PagePath + "live", method: http.MethodGet, needs: access.Read, page: true, endless: true, handler: d.page},
		{path: SignInPath, method: http.MethodPost, open: "a token is shown there", page: true, handler: d.page},
		{path: SignOutPath, method: http.MethodPost, open: "it ends what a token began", page: true, handler: d.page},
		{path: AssetsPath, method: http.MethodGet, open: "a style and a script, and nothing of this busd", page: true, handler: d.page},
	}
}

func (d *HTTP) page(w http.ResponseWriter, r *http.Request) {
	ctx, release := d.Life.untilDrain(r.Context())
	defer release()
	if r.Method == http.MethodPost { // Else a browser that follows would be taken for one that sends too slowly.
		defer d.limitReading(w, bodyTime)()
	}
	d.Page.ServeHTTP(w, r.WithContext(ctx))
}
