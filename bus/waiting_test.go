package bus

import "github.com/modulebus/modulebus/internal/natsrequest"

// Waiting is how many replies are waited for, by all asks together.
func (c *Client) Waiting() int {
	return c.requester.(*natsrequest.Mux).Waiting()
}
