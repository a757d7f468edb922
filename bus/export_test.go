package bus

import (
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// SetRoster is what news of a roster does, which busd has resolved.
func (c *Client) SetRoster(r *rosterv1.Roster) { c.setRoster(busopts.Resolved(r)) }
