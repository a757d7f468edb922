package nearby

import "time"

// GiveUp ends the wait of a Send that is under way.
func (l *Line) GiveUp() { _ = l.conn.SetWriteDeadline(time.Unix(1, 0)) }

// Look is for tests.
type Look = look

// Await is for tests.
func (k *look) Await() { k.await() }

// Close is for tests.
func (k *look) Close() { k.close() }

// GaveWay reports whether any of the place's lines has let something through.
func (p *Place) GaveWay() bool { return p.lines.network.poll != nil }
