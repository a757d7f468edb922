package rosterwire_test

import (
	"slices"
	"testing"

	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

func TestShadowCountsAmongModulesAndIsAskedWhatItMayBe(t *testing.T) {
	t.Parallel()
	module := func(name string, callbacks ...string) *rosterv1.Module {
		m := &rosterv1.Module{Name: name}
		for _, c := range callbacks {
			m.Callbacks = append(m.Callbacks, &rosterv1.Interest{Callback: c})
		}
		return m
	}
	r := &rosterv1.Roster{
		Modules: []*rosterv1.Module{module("a", "one"), module("b")},
		Shadows: []*rosterv1.Shadow{{Module: module("c", "one", "two"), Asked: []string{"two", "three"}}},
	}
	var names, asked []string
	for _, m := range rosterwire.Modules(r) {
		names = append(names, m.GetName())
	}
	for _, i := range rosterwire.Interests(r) {
		asked = append(asked, i.GetCallback())
	}
	if !slices.Equal(names, []string{"a", "b", "c"}) || !slices.Equal(asked, []string{"one", "two"}) {
		t.Errorf("the modules %q are asked %q", names, asked)
	}
	if len(r.GetModules()) != 2 {
		t.Error("the roster has changed")
	}
}
