package wire_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

func TestUniteFiltersKeepsEachKeyOnceInOrder(t *testing.T) {
	t.Parallel()
	keys := func(types ...string) *rosterv1.StateFilter {
		f := &rosterv1.StateFilter{}
		for _, name := range types {
			f.Keys = append(f.Keys, &rosterv1.StateKey{Type: name})
		}
		return f
	}
	all := &rosterv1.StateFilter{All: true}
	for name, tt := range map[string]struct{ a, b, want *rosterv1.StateFilter }{
		"nothing":            {nil, nil, nil},
		"nothing and some":   {nil, keys("a"), keys("a")},
		"some and nothing":   {keys("a"), nil, keys("a")},
		"what both have":     {keys("a", "b"), keys("b", "c", "a"), keys("a", "b", "c")},
		"all and nothing":    {all, nil, all},
		"nothing and no key": {nil, keys(), keys()},
	} {
		if diff := cmp.Diff(tt.want, wire.UniteFilters(tt.a, tt.b), protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}
