package page

import (
	"fmt"
	"html/template"
	"time"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/roster"
)

// functions are the templates' functions.
var functions = template.FuncMap{
	"when":    when,
	"verdict": records.Verdict, "from": records.From, "said": records.Said, "counted": records.Counted,
	"asked": records.AskedAt, "took": records.Took,
	"ms":      func(m decision.Milliseconds) string { return milliseconds(m.Duration().Seconds()) },
	"next":    func(i int) int { return i + 1 },
	"several": several[int],
	"first":   func(names []string) []string { return names[:min(len(names), maxNamed)] },
	"more":    func(names []string) int { return max(0, len(names)-maxNamed) },
}

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

// when shows an absolute time, which stays true however long the part is kept. The page's script shows how long ago it
// was instead.
func when(t time.Time) template.HTML {
	if t.IsZero() {
		return "–"
	}
	t = t.UTC()
	exact := t.Format(time.RFC3339)
	html := `<time datetime="` + exact + `" title="` + exact + `">` + t.Format(time.DateTime) + ` UTC</time>`
	return template.HTML(html) //nolint:gosec // It is made of a time.
}
