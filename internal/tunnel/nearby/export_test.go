package nearby

import (
	"net"
	"time"
)

// GiveUp ends the wait of a Send that is under way.
func (l *Line) GiveUp() { _ = l.conn.SetWriteDeadline(time.Unix(1, 0)) }

// Look is for tests.
type Look = look

// Await is for tests.
func (k *look) Await() { k.await() }

// Close is for tests.
func (k *look) Close() { k.close() }

// LineOn returns a line on a connection.
func LineOn(c *net.UnixConn) *Line { return &Line{conn: c} }

// Turns is how many pieces are moved at once.
func (s *Lines) Turns() int {
	s.opened.Do(s.open)
	return cap(s.taken)
}

// GaveWay reports whether any of the place's lines has let something through.
func (p *Place) GaveWay() bool { return p.lines.network.poll != nil }
