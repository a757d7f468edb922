package config

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/modulebus/modulebus/subjects"
)

// callbacks is the key for settings of single callbacks.
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

// eachCallback reads a mapping whose keys are callbacks, and calls read with each callback and its value.
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

// scope returns what is wrong with a scope of the Module API; empty if nothing is.
func scope(name string) string {
	known := subjects.Scopes()
	if slices.Contains(known, name) {
		return ""
	}
	return quote(name) + " is no scope of the Module API (" + DidYouMean(name, known, "known here: "+strings.Join(known, ", ")) + ")"
}

// hedge is the key for the time after which a second worker is asked: of the callback or, if d is nil, of a whole
// module. 0 is off.
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

// breaker is the key for when the module is not asked for a while: off, or a mapping, in which missing keys mean those
// of [DefaultBreaker].
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

// evaluations are the ways in which the modules of a callback can be asked. The first is the default.
var evaluations = []string{"speculative", "sequential"}

// evaluate is the key for what is evaluated sequentially: one word for all callbacks, or a word for each.
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

// oneOf returns a check that refuses any other word than the given ones.
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

// policyOf is the key on_failure, of the callback or, if d is nil, of a whole module.
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
