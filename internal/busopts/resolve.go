package busopts

import (
	"cmp"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Resolved returns a copy of a roster made by hand in which nothing is left open: the defaults that busd would have filled
// in, where the operator's file says nothing. A client takes rosters as they are.
func Resolved(r *rosterv1.Roster) *rosterv1.Roster {
	out := proto.CloneOf(r)
	out.BudgetMs = cmp.Or(out.GetBudgetMs(), wire.Milliseconds(wire.DefaultBudget))
	for _, m := range out.GetModules() {
		for _, i := range m.GetCallbacks() {
			if d, ok := subjects.Find(i.GetCallback()); ok {
				resolve(i, d.Options)
			}
		}
	}
	return out
}

func resolve(i *rosterv1.Interest, o *callbacksv1.CallbackOptions) {
	i.TimeoutMs = cmp.Or(i.GetTimeoutMs(), wire.Milliseconds(wire.DefaultTimeout))
	i.BreakerOpenMs = cmp.Or(i.GetBreakerOpenMs(), wire.Milliseconds(wire.DefaultBreakerOpen))
	i.OnFailureFederated = cmp.Or(i.GetOnFailureFederated(), i.GetOnFailure(), o.GetOnFailureFederated(), o.GetOnFailure())
	i.OnFailure = cmp.Or(i.GetOnFailure(), o.GetOnFailure())
}
