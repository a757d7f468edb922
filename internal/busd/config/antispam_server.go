package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/modulebus/modulebus/internal/antispam"
)

// antispamServer is the key for an antispam server that is the module.
func antispamServer(m *Module) slot {
	a := &m.Antispam
	keys := []key{
		{"base_url", "", "", urls(&a.BaseURL, antispamURL)},
		{tokenFile, "", "", path(&a.TokenFile, awaited)},
		{"callbacks", "", "", list(&a.Callbacks, ofAntispam)},
		{"async", "", "", list(&a.Async, ofAntispam)},
	}
	return slot{
		read: func(v value) {
			if found := v.fields(keys); v.tag() == tagMap {
				a.check(v, found)
			}
		},
		show: func() string {
			if a.BaseURL == "" {
				return ""
			}
			return showFlow(keys)
		},
	}
}

func ofAntispam(name string) string {
	if _, ok := antispam.Find(name); ok {
		return ""
	}
	var known []string
	for _, d := range antispam.Callbacks() {
		known = append(known, d.Name)
	}
	return quote(name) + " is no callback of the antispam protocol (" + DidYouMean(name, known, "docs/antispam.md lists them") + ")"
}

func (a *Antispam) check(v value, found object) {
	if !found.has("base_url") {
		v.lacks("base_url", "(what comes before the callback's name in URLs, such as http://127.0.0.1:8080/api/1/spam_check)")
	}
	if c := found["callbacks"]; !found.has("callbacks") || c.tag() == tagList && len(c.node.Content) == 0 {
		v.lacks("callbacks", "(the names of those that the server is asked)")
	}
	for _, name := range a.Async {
		if !slices.Contains(a.Callbacks, name) {
			found["async"].fail("has %s, which callbacks has not (add it there)", name)
		}
	}
}

// checkAntispam makes sure that an entry is about a server or about a program, not both. It names the callbacks that
// the server is asked, so that they are wanted from the start.
func (m *Module) checkAntispam(found object) {
	if !found.has("antispam") {
		return
	}
	for _, name := range []string{"run", "config", "grants"} {
		if found.has(name) {
			found[name].fail("is for a module that is a program, and antispam names a server (remove one of the two)")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Callbacks)) {
		if _, short, _ := strings.Cut(name, "."); !slices.Contains(m.Antispam.Callbacks, short) {
			found["callbacks"].fail("has %s, which the server is not asked (add it to antispam.callbacks)", short)
		}
	}
	for _, name := range m.Antispam.Callbacks {
		if d, ok := antispam.Find(name); ok {
			m.want(d.FullName())
		}
	}
}

// AntispamWorkers is how many workers the module has that is an antispam server: two where it may be asked again ([Module.Hedge]), and else one.
func (m *Module) AntispamWorkers() int {
	hedged := func(name string) bool {
		d, ok := antispam.Find(name)
		return ok && m.TermsOf(d).Hedge > 0
	}
	if slices.ContainsFunc(m.Antispam.Callbacks, hedged) {
		return 2
	}
	return 1
}

// want names a callback for which the entry has no settings.
func (m *Module) want(callback string) {
	if m.Callbacks == nil {
		m.Callbacks = map[string]Override{}
	}
	if _, ok := m.Callbacks[callback]; !ok {
		m.Callbacks[callback] = Override{}
	}
}
