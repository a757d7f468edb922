package wire

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// UniteFilters returns what either filter wants, each kind of state once; nil is nothing. Neither is changed, and either
// may be what is returned.
func UniteFilters(a, b *rosterv1.StateFilter) *rosterv1.StateFilter {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	united := &rosterv1.StateFilter{All: a.GetAll() || b.GetAll()}
	for _, k := range slices.Concat(a.GetKeys(), b.GetKeys()) {
		if !slices.ContainsFunc(united.Keys, func(o *rosterv1.StateKey) bool { return proto.Equal(o, k) }) {
			united.Keys = append(united.Keys, k)
		}
	}
	return united
}
