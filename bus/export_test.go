package bus

import (
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// SetRoster is what news of a roster does, which busd has resolved.
func (c *Client) SetRoster(r *rosterv1.Roster) { c.setRoster(busopts.Resolved(r)) }

// MaxCalls is how many calls of the Module API are served at once.
const MaxCalls = maxCalls
