//go:build !unix

package nearby

import "net"

func (l *Line) readSome(rest []byte) (int, error) { return l.conn.Read(rest) }

func (l *Line) writeSome(head, rest []byte) (int, error) {
	n, err := (&net.Buffers{head, rest}).WriteTo(l.conn)
	return int(n) - len(head), err
}
