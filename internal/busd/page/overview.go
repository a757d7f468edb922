package page

import (
	"fmt"
	"net/http"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/records"
)

// front is what the first page shows.
type front struct {
	Head    markup
	Modules []markup
	Version uint64 // of them
	Records []decision.Record
	Problem string // why no more records can be shown
}

func (p *Page) overview(w http.ResponseWriter, r *http.Request) {
	parts, version := p.board.all()
	f := &front{Head: parts[0].markup(), Version: version}
	for _, m := range parts[1:] {
		f.Modules = append(f.Modules, m.markup())
	}
	var err error
	if f.Records, err = p.Records.Last(r.Context(), decision.Filter{}, shownRecords); err != nil {
		f.Problem = err.Error()
	}
	p.show(w, r, http.StatusOK, "Modules and decisions", f)
}

// show implements [content].
func (o *front) show(d *document, f *frame) {
	d.put(`<h1>Modules and decisions</h1>
{}
<p id="connection" class="connection"><noscript>Without JavaScript this page stays as it is: reload it to see what is new.</noscript></p>

<section aria-labelledby="modules-title">
<h2 id="modules-title">Modules, in the order in which they are asked</h2>
<ol id="modules" class="modules">`, o.Head)
	for _, m := range o.Modules {
		d.put("{}", m)
	}
	if len(o.Modules) == 0 {
		d.put("<li>busd.yaml lists no module.</li>")
	}
	d.put("</ol>\n</section>\n\n")
	o.decisions(d)
	d.put(`<script src="/_modulebus/assets/page.js" nonce="{}" data-version="{}" data-key="{}" defer></script>`+"\n", f.Nonce, o.Version, f.Key)
}

func (o *front) decisions(d *document) {
	d.put(`<section aria-labelledby="decisions-title">
<h2 id="decisions-title">Decisions</h2>
`)
	d.lookup("")
	d.put(`<p class="controls"><button id="pause" type="button" aria-pressed="false" hidden>Pause</button>
<span id="news" role="status" aria-live="polite"></span> <span id="missed"></span></p>
`)
	d.problem(o.Problem)
	d.put(`<div class="wide" tabindex="0" role="region" aria-label="Table of decisions">
<table>
`)
	d.columns("Time", "Callback", "What came of it", "Took", "ID")
	d.put(`<tbody id="decisions">`)
	for i := range o.Records {
		d.row(&o.Records[i])
	}
	d.put("</tbody>\n</table>\n</div>\n</section>\n")
}

// markup returns the part as it was written.
func (p *part) markup() markup { return markup(p.html) }

// explained is one decision, or the reason why none can be shown.
type explained struct {
	Wanted  string
	Record  *decision.Record
	Problem string
}

func (p *Page) explain(w http.ResponseWriter, r *http.Request) {
	e, status := &explained{Wanted: r.URL.Query().Get("id")}, http.StatusOK
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
	p.show(w, r, status, "A decision", e)
}

// show implements [content].
func (e *explained) show(d *document, _ *frame) {
	if e.Record == nil {
		d.put("<h1>No decision</h1>\n")
		d.problem(e.Problem)
		d.lookup(e.Wanted)
		return
	}
	d.decision(e.Record)
	d.lookup("")
}

// decision adds who was asked, what each said, and why it counted.
func (d *document) decision(r *decision.Record) {
	d.put(`<h1>Decision {}</h1>
<p class="state {}">{}{}: {}, in {} of {}</p>
`, r.ID, r.Outcome, r.Callback, records.From(r), records.Verdict(r), took(r.MS), took(r.BudgetMS))
	d.put(`<p><time datetime="{}">{}</time>, roster {}`, r.Time, r.Time, r.RosterRevision)
	if r.TraceID != "" {
		d.put(`, trace <code>{}</code>`, r.TraceID)
	}
	d.put(`</p>
<div class="wide" tabindex="0" role="region" aria-label="What each module said">
<table>
<caption>What each module said, in the order of the list</caption>
`)
	d.columns("Order", "Module", "Worker", "Asked at", "Took", "Said", "Counted")
	d.put("<tbody>")
	for i := range r.Modules {
		m := &r.Modules[i]
		d.put(`<tr><td class="number">{}</td><th scope="row">{}</th><td>{}</td>`, i+1, m.Module, m.Worker)
		d.put(`<td class="number">{}</td><td class="number">{}</td>`, records.AskedAt(m), records.Took(m))
		d.put("<td>{}</td><td>{}</td></tr>", records.Said(m), records.Counted(r, m))
	}
	d.put("</tbody>\n</table>\n</div>\n")
	if len(r.Request) > 0 {
		d.put("<h2>Request</h2><pre>{}</pre>\n", string(r.Request))
	}
	if len(r.Answer) > 0 {
		d.put("<h2>Answer</h2><pre>{}</pre>\n", string(r.Answer))
	}
	d.put(`<p><a href="/_modulebus/">All modules, and the last decisions</a></p>` + "\n")
}
