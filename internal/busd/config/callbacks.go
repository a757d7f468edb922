package config

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/modulebus/modulebus/subjects"
)

// callbacks is what differs from the module for single callbacks.
func callbacks(m *Module) slot {
	return slot{
		read: func(v value) {
			m.Callbacks = map[string]Override{}
			v.eachCallback(func(d *subjects.Declaration, v value) {
				o := new(Override)
				if !v.null() {
					v.fields(overrideKeys(o, d, m))
				}
				m.Callbacks[d.FullName()] = *o
			})
		},
		show: func() string {
			var lines strings.Builder
			for _, name := range slices.Sorted(maps.Keys(m.Callbacks)) {
				d, _ := subjects.Find(name)
				o := m.Callbacks[name]
				lines.WriteString("\n      " + name + ": " + showFlow(overrideKeys(&o, d, m)))
			}
			return lines.String()
		},
	}
}

// eachCallback reads a mapping whose keys are callbacks. Both the callback and its value are read's.
func (v value) eachCallback(read func(*subjects.Declaration, value)) {
	given := map[*subjects.Declaration]bool{}
	for _, p := range v.mapping() {
		d, ok := subjects.Find(p.name)
		if !ok {
			p.key.fail("is not a callback (%s)", DidYouMean(p.name, callbackNames(), "busd callbacks lists them"))
			continue
		}
		if given[d] {
			p.key.fail("is %s, which is given already", d.FullName())
		}
		given[d] = true
		read(d, p.value)
	}
}

func callbackNames() (names []string) {
	for _, d := range subjects.All() {
		names = append(names, d.Name)
	}
	return names
}

// scope says what is wrong with a scope of the Module API.
func scope(name string) string {
	known := subjects.Scopes()
	if slices.Contains(known, name) {
		return ""
	}
	return quote(name) + " is no scope of the Module API (" + DidYouMean(name, known, "known here: "+strings.Join(known, ", ")) + ")"
}

// hedge is the time after which a second worker is asked, of the callback or, if it is nil, of a whole module. 0 is off.
func hedge(d *subjects.Declaration, timeout func() time.Duration) func(*time.Duration) slot {
	return func(dst *time.Duration) slot {
		of := duration(dst, 0)
		read := func(v value) {
			if d != nil && !d.Options.GetSpeculative() {
				v.fail("cannot be: asking %s twice may do something twice (remove it, or write off)", d.FullName())
				return
			}
			of.read(v)
			v.finally(func() {
				if *dst > 0 && *dst >= timeout() {
					v.fail("must be less than the timeout, which is %s", ShowTime(timeout()))
				}
			})
		}
		return orOff(dst, 0, slot{read: read, show: of.show})
	}
}

// breaker is when the module is left alone: off, or a mapping whose keys are those of [DefaultBreaker] where they are not given.
func breaker(dst *Breaker) slot {
	keys := []key{
		{"failures", "", "", count(&dst.Failures)},
		{"open", "", "", duration(&dst.Open, least)},
	}
	return orOff(dst, Breaker{}, slot{
		read: func(v value) {
			if v.tag() != tagMap {
				v.fail("must be off or a mapping (try {failures: 5, open: 5s})")
				return
			}
			*dst = DefaultBreaker
			v.fields(keys)
		},
		show: func() string { return showFlow(keys) },
	})
}

// evaluations are how the modules of a callback are asked. The first is the default.
var evaluations = []string{"speculative", "sequential"}

// evaluate is what is evaluated sequentially: one word for everything, or a word by callback.
func evaluate(dst *[]string) slot {
	return slot{
		read: func(v value) {
			if v.tag() != tagMap {
				if v.sequential() {
					*dst = []string{Everything}
				}
				return
			}
			v.eachCallback(func(d *subjects.Declaration, v value) {
				switch {
				case v.null():
				case !d.Options.GetSpeculative():
					v.fail("cannot be: %s is never evaluated speculatively (remove it)", d.FullName())
				case v.sequential():
					*dst = append(*dst, d.FullName())
				}
			})
			slices.Sort(*dst)
			*dst = slices.Compact(*dst)
		},
		show: func() string { return showEvaluate(*dst) },
	}
}

func (v value) sequential() bool {
	var how string
	text(&how, oneOf(evaluations)).read(v)
	return how == evaluations[1]
}

// oneOf says what is wrong with a word that is none of those.
func oneOf(words []string) func(string) string {
	return func(s string) string {
		if slices.Contains(words, s) {
			return ""
		}
		return quote(s) + " is not known (" + DidYouMean(s, words, strings.Join(words, " or ")) + ")"
	}
}

func showEvaluate(sequential []string) string {
	switch {
	case len(sequential) == 0:
		return evaluations[0]
	case slices.Contains(sequential, Everything):
		return evaluations[1]
	}
	return "{" + strings.Join(sequential, ": sequential, ") + ": sequential}"
}

// policyOf is on_failure of the callback, or of a whole module if d is nil.
func policyOf(d *subjects.Declaration) func(*Policy) slot {
	return func(p *Policy) slot {
		keys := []key{
			{"local", "", "", action(&p.Local, d)},
			{"federated", "", "", action(&p.Federated, d)},
			{"policy", "", "", action(&p.PolicyServer, d)},
		}
		return slot{
			read: func(v value) {
				switch {
				case v.tag() != tagMap:
					action(&p.Local, d).read(v)
					p.Federated = p.Local
				case d != nil && !d.KnowsOrigin():
					v.fail("must be skip, refuse or fail: %s does not tell local from federated", d.FullName())
				default:
					v.fields(keys)
				}
			},
			show: func() string {
				if !p.differs() {
					return showAction(p.Local)
				}
				return showFlow(keys)
			},
		}
	}
}

func action(dst *Action, d *subjects.Declaration) slot {
	return slot{
		read: text(new(string), func(name string) string { return parseAction(dst, d, name) }).read,
		show: func() string { return showAction(*dst) },
	}
}

func parseAction(dst *Action, d *subjects.Declaration, name string) (wrong string) {
	a, known := actions[name]
	switch {
	case !known:
		return quote(name) + " is not known (" + DidYouMean(name, slices.Sorted(maps.Keys(actions)), "skip, refuse or fail") + ")"
	case a == Refuse && d != nil && !d.CanRefuse():
		return d.FullName() + " cannot be refused (skip or fail)"
	}
	*dst = a
	return ""
}
