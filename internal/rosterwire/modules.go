package rosterwire

import (
	"slices"

	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// Modules returns the modules of a roster, and after them those in shadow.
func Modules(r *rosterv1.Roster) []*rosterv1.Module {
	all := slices.Clone(r.GetModules())
	for _, s := range r.GetShadows() {
		all = append(all, s.GetModule())
	}
	return all
}

// Interests returns all that any module is asked, those in shadow among them.
func Interests(r *rosterv1.Roster) (all []*rosterv1.Interest) {
	for _, m := range r.GetModules() {
		all = append(all, m.GetCallbacks()...)
	}
	for _, s := range r.GetShadows() {
		all = append(all, Asked(s)...)
	}
	return all
}

// Asked returns what a module in shadow is asked.
func Asked(s *rosterv1.Shadow) (asked []*rosterv1.Interest) {
	for _, i := range s.GetModule().GetCallbacks() {
		if slices.Contains(s.GetAsked(), i.GetCallback()) {
			asked = append(asked, i)
		}
	}
	return asked
}
