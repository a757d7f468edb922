package bus

// Waiting is how many replies are waited for, by all asks together.
func (c *Client) Waiting() (n int) {
	m := c.line.(*mux)
	for i := range m.shards {
		m.shards[i].mu.Lock()
		n += len(m.shards[i].waiting)
		m.shards[i].mu.Unlock()
	}
	return n
}
