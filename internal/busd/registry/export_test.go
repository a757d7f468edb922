package registry

// SetRoom bounds the roster to so many bytes.
func (r *Registry) SetRoom(bytes int) { r.room = bytes }
