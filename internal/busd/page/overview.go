package page

import (
	"fmt"
	"html/template"
	"net/http"

	"github.com/modulebus/modulebus/decision"
)

// front is what the first page shows.
type front struct {
	Head    template.HTML
	Modules []template.HTML
	Version uint64 // of them
	Records []decision.Record
	Problem string // why no more records can be shown
}

func (p *Page) overview(w http.ResponseWriter, r *http.Request) {
	parts, version := p.board.all()
	f := front{Head: parts[0].markup(), Version: version}
	for _, m := range parts[1:] {
		f.Modules = append(f.Modules, m.markup())
	}
	var err error
	if f.Records, err = p.Records.Last(r.Context(), decision.Filter{}, shownRecords); err != nil {
		f.Problem = err.Error()
	}
	p.show(w, r, http.StatusOK, "overview.html", "Modules and decisions", f)
}

// markup returns the part as rendered by its template.
func (p *part) markup() template.HTML { return template.HTML(p.html) } //nolint:gosec // As it says.

// explained is one decision, or the reason why none can be shown.
type explained struct {
	Wanted  string
	Record  *decision.Record
	Problem string
}

func (p *Page) explain(w http.ResponseWriter, r *http.Request) {
	e, status := explained{Wanted: r.URL.Query().Get("id")}, http.StatusOK
	record, found, err := p.Records.Find(r.Context(), e.Wanted)
	switch {
	case err != nil:
		e.Problem, status = err.Error(), http.StatusServiceUnavailable
	case e.Wanted == "":
		e.Problem, status = "Say which decision: its ID stands in Synapse's log, and busd tail prints it.", http.StatusBadRequest
	case !found:
		e.Problem, status = fmt.Sprintf("There is no record %q: %s.", e.Wanted, p.Records.Kept()), http.StatusNotFound
	default:
		e.Record = &record
	}
	p.show(w, r, status, "explain.html", "A decision", e)
}
