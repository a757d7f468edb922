package verify

import (
	"context"
	"slices"
	"testing"
	"time"
)

// Rules are the names of all rules, and the sections that they link to.
func Rules() (ids, sections []string) {
	for _, r := range rules {
		ids, sections = append(ids, r.id), append(sections, r.anchor)
	}
	return ids, sections
}

// Only goes through some of the rules, with a module that is given less time to join.
func Only(t *testing.T, o Options, patience time.Duration, ids ...string) *Report {
	t.Helper()
	s, err := open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.patience = patience
	report, err := s.run(context.WithoutCancel(t.Context()), slices.DeleteFunc(slices.Clone(rules), func(r rule) bool { return !slices.Contains(ids, r.id) }))
	if err != nil {
		t.Fatal(err)
	}
	return report
}
