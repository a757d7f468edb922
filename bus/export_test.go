package bus

import rosterv1 "github.com/modulebus/modulebus/schemas/roster/v1"

// SetRoster is what news of a roster does.
func (c *Client) SetRoster(r *rosterv1.Roster) { c.setRoster(r) }
