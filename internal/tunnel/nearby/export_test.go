package nearby

import "time"

// GiveUp ends the wait of a Send that is under way.
func (l *Line) GiveUp() { _ = l.conn.SetWriteDeadline(time.Unix(1, 0)) }
