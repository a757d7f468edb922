package bus

import (
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// SetRoster is what news of a roster does, which busd has resolved.
func (c *Client) SetRoster(r *rosterv1.Roster) { c.setRoster(busopts.Resolved(r)) }

// MaxCalls is how many calls of the Module API are served at once.
const MaxCalls = maxCalls

// OwnCalls is how many calls of each module are served beyond that.
const OwnCalls = ownCalls

// HoldRosters keeps rosters from being used until release is called.
func (c *Client) HoldRosters() (release func()) {
	c.mu.Lock()
	return c.mu.Unlock
}

// HasMet reports whether a roster with the module was ever used.
func (c *Client) HasMet(module string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.memory.callbacks {
		if k.module == module {
			return true
		}
	}
	return false
}
