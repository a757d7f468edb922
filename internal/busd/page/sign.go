package page

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"

	"github.com/modulebus/modulebus/internal/busd/access"
)

// signing is the content of the form to sign in.
type signing struct {
	Problem string // why the last try failed
	Refused bool   // no token would help
	Wanted  string // the ID of the decision to explain after signing in
}

// Deny asks a browser that may not read to sign in, and says why it may not.
func (p *Page) Deny(w http.ResponseWriter, r *http.Request, denial *access.Denial) {
	s := signing{Wanted: cmp.Or(r.URL.Query().Get("id"), r.PostForm.Get("id"))} // The body of a request without permission is not read.
	if denial.Errcode != "M_MISSING_TOKEN" {
		s.Problem = denial.Text
	}
	if no := p.Guard.DeniesSignIn(r); no != nil {
		denial, s.Problem, s.Refused = no, no.Text, true
	}
	switch denial.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "60")
	}
	p.show(w, r, denial.Status, "sign-in.html", "Sign in", s)
}

func (p *Page) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		status := http.StatusBadRequest
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			status = http.StatusRequestEntityTooLarge
		}
		p.Deny(w, r, &access.Denial{Status: status, Text: "this form cannot be read"})
		return
	}
	if denial := p.Guard.SignIn(w, r, r.PostForm.Get("token")); denial != nil {
		p.Deny(w, r, denial)
		return
	}
	to := access.PagePath
	if id := r.PostForm.Get("id"); id != "" {
		to += "explain?id=" + url.QueryEscape(id)
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (p *Page) signOut(w http.ResponseWriter, r *http.Request) {
	p.Guard.SignOut(w, r)
	http.Redirect(w, r, access.PagePath, http.StatusSeeOther)
}
