package page

import (
	"fmt"
	"time"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/internal/busd/roster"
)

// maxNamed is how many modules that are not well are named at the head of the page. Beyond: they are counted; the list has them.
const maxNamed = 12

// several is a number of things, with an s unless it is one.
func several[N int | uint64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// module is what the page shows of a module.
type module struct {
	operatordoor.ModuleStatus
	Charts    []chart
	Tone      string // its colour; Condition says the same in words
	Condition string // its state in words, and what else is known
}

func newModule(s operatordoor.ModuleStatus, past []column) module {
	m := module{ModuleStatus: s, Charts: charts(s.Name, past)}
	m.Tone, m.Condition = m.tone(), m.condition()
	return m
}

// Place names the module's part of the page.
func (m *module) Place() string { return "module-" + m.Name }

// show implements [element].
func (m *module) show(d *document) {
	d.put(`<li id="{}" class="module {}">`+"\n"+`<h3><span class="order">`, m.Place(), m.Tone)
	if m.Order > 0 {
		d.put("{}.", m.Order)
	}
	d.put(`</span> {}</h3>`+"\n"+`<p class="state {}">{}`, m.Name, m.Tone, m.Condition)
	if !m.Since.IsZero() {
		d.put(", since {}", when(m.Since))
	}
	d.put("</p>\n")
	m.facts(d)
	m.lastError(d)
	d.put(`<div class="charts">`)
	for i := range m.Charts {
		c := &m.Charts[i]
		d.put(`<figure><svg viewBox="0 0 90 24" preserveAspectRatio="none" role="img" aria-label="{} in the last 15 minutes: {}">`, c.Title, c.Text)
		d.put(`<path d="{}"/></svg><figcaption>{}</figcaption></figure>`, c.Path, c.Text)
	}
	d.put("</div>\n<details><summary>Workers and callbacks of {}</summary>\n", m.Name)
	d.workers(m.Hands())
	d.callbacks(m.Wanted())
	m.pages(d)
	d.put("</details>\n</li>\n")
}

// facts are the version, and how many of what there are.
func (m *module) facts(d *document) {
	d.put(`<p class="facts">`)
	if m.Version != "" {
		d.put("version {}, ", m.Version)
	}
	d.put("{}", several(m.Workers, "worker"))
	if m.Restarts > 0 {
		d.put(", {}", several(m.Restarts, "restart"))
	}
	switch {
	case m.News == nil:
	case m.News.Waiting == 1:
		d.put(", 1 piece of news waits")
	default:
		d.put(", {} pieces of news wait", m.News.Waiting)
	}
	d.put("</p>\n")
}

// pages lists where its web resources are, if it has any.
func (m *module) pages(d *document) {
	if len(m.WebResources) == 0 {
		return
	}
	d.put("<p>Pages: ")
	for i, path := range m.WebResources {
		if i > 0 {
			d.put(", ")
		}
		d.put("<code>{}</code>", path)
	}
	d.put("</p>\n")
}

func (m *module) lastError(d *document) {
	if m.LastError == "" {
		return
	}
	if m.LastErrorOver {
		d.put(`<p class="facts">Last error, which is over: `)
	} else {
		d.put(`<p class="error">`)
	}
	if !m.LastErrorAt.IsZero() {
		d.put("{}: ", when(m.LastErrorAt))
	}
	d.put("{}</p>\n", m.LastError)
}

func (m *module) tone() string {
	switch {
	case m.State == roster.Unlisted:
		return "quiet"
	case m.Well() && !m.Troubled():
		return "good"
	case m.State == roster.Starting, m.Well():
		return "fair"
	}
	return "bad"
}

func (m *module) condition() string {
	text := string(m.State)
	switch {
	case m.State == roster.Ready && !m.Well():
		text += ", but failing"
	case m.Unknown:
		text += ", has never joined"
	case m.Remembered:
		text += ", has not joined since busd started"
	}
	if m.Shadow {
		text += ", in shadow"
	}
	return text
}

// worker is one worker: what the roster and the supervisor know of it.
type worker struct {
	Name, Version         string
	Joined                time.Time
	*operatordoor.Process // nil if busd does not run it
}

// Hands returns the module's workers, and the processes that have not joined yet.
func (m *module) Hands() (all []worker) {
	joined := map[string]bool{}
	for _, w := range m.WorkerList {
		joined[w.Name] = true
		all = append(all, worker{w.Name, w.Version, w.Since, m.Process(w.Name)})
	}
	for i := range m.Processes {
		if p := &m.Processes[i]; !joined[p.Worker] {
			all = append(all, worker{Name: p.Worker, Process: p})
		}
	}
	return all
}

// workers adds a table of them.
func (d *document) workers(all []worker) {
	if len(all) == 0 {
		d.put("<p>No worker.</p>\n")
		return
	}
	d.put("<table><caption>Workers</caption>")
	d.columns("Worker", "Joined", "Version", "PID", "Started", "Restarts", "Last error")
	d.put("<tbody>")
	for _, w := range all {
		d.put("<tr><td>{}</td><td>{}</td><td>{}</td>", w.Name, when(w.Joined), w.Version)
		w.process(d)
		d.put("</tr>")
	}
	d.put("</tbody></table>\n")
}

// process adds the cells about the worker's process.
func (w *worker) process(d *document) {
	p := w.Process
	if p == nil {
		d.put(`<td colspan="4">not run by this busd</td>`)
		return
	}
	d.put(`<td class="number">`)
	if p.PID != 0 {
		d.put("{}", p.PID)
	}
	d.put(`</td><td>{}</td><td class="number">{}</td><td>`, when(p.StartedAt), p.Restarts)
	if p.LastError != "" {
		d.put("{}, {}", p.LastError, when(p.LastErrorAt))
	}
	d.put("</td>")
}

// wanted is a callback that the module is asked.
type wanted struct {
	Name    string
	Failing *roster.Failing // nil: it did not fail when it was last asked
}

// Wanted returns the callbacks that the module is asked.
func (m *module) Wanted() (all []wanted) {
	for _, name := range m.Callbacks {
		w := wanted{Name: name}
		for i := range m.Failing {
			if m.Failing[i].Callback == name {
				w.Failing = &m.Failing[i]
			}
		}
		all = append(all, w)
	}
	return all
}

// callbacks adds a table of them.
func (d *document) callbacks(all []wanted) {
	if len(all) == 0 {
		d.put("<p>No callback.</p>\n")
		return
	}
	d.put("<table><caption>Callbacks</caption>")
	d.columns("Callback", "Breaker", "Failure when last asked")
	d.put("<tbody>")
	for _, w := range all {
		d.put("<tr><td>{}</td>", w.Name)
		switch f := w.Failing; {
		case f == nil:
			d.put("<td>closed</td><td>no failure</td>")
		case f.Open:
			d.put(`<td><strong class="bad">open: left alone</strong></td><td>{}, {} in a row, {}</td>`, f.Failure, f.InARow, when(f.At))
		default:
			d.put("<td>closed</td><td>{}, {} in a row, {}</td>", f.Failure, f.InARow, when(f.At))
		}
		d.put("</tr>")
	}
	d.put("</tbody></table>\n")
}

// when shows an absolute time, which stays true however long the part is kept. The page's script shows how long ago it
// was instead.
func when(t time.Time) markup {
	if t.IsZero() {
		return "–"
	}
	t = t.UTC()
	exact := t.Format(time.RFC3339)
	return markup(`<time datetime="` + exact + `" title="` + exact + `">` + t.Format(time.DateTime) + ` UTC</time>`)
}

func took(m decision.Milliseconds) string { return milliseconds(m.Duration().Seconds()) }
