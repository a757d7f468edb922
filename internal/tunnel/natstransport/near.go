package natstransport

import (
	"strings"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/nearby"
)

// host is a gateway that accepts lines.
type host interface {
	Meet(token string, l flow.Line) bool
	Parted(token string, used bool)
	ReceiveShared(token string, head, bytes []byte)
}

// wait lets workers on this machine open lines to a gateway. If it fails, all bodies go over NATS.
func (t *Transport) wait() {
	if h, ok := t.side.(host); ok {
		t.place, _ = nearby.Open(t.name, guests{t, h}) // As above.
	}
}

// guests are the lines of a gateway.
type guests struct {
	*Transport
	host
}

// Meet implements [nearby.Host].
func (g guests) Meet(token string, l *nearby.Line) bool { return g.host.Meet(token, l) }

// ReceiveNearby implements [nearby.Host].
func (g guests) ReceiveNearby(token string, frame []byte) {
	g.side.Receive(flow.Bulk, token, flow.Address{}, frame)
}

// Near implements [flow.Transport]. A gateway opens no lines.
func (t *Transport) Near(to flow.Address, take func(frame []byte), parted func()) flow.Line {
	return t.near(nearby.Reach, to, take, parted)
}

// NearSharing implements [flow.Sharing].
func (t *Transport) NearSharing(to flow.Address, take func(frame []byte), parted func()) flow.Line {
	return t.near(nearby.ReachSharing, to, take, parted)
}

func (t *Transport) near(
	by func(gateway, token string) (*nearby.Line, error), to flow.Address, take func(frame []byte), parted func(),
) flow.Line {
	if t.process == "" {
		return nil
	}
	_, gateway, _ := strings.Cut(to.Process, ".") // After the module's name.
	reach := func() (*nearby.Line, error) { return by(gateway, to.Token) }
	line, err := t.lines.Go(reach, func(l *nearby.Line) { _ = l.Receive(take); parted() }) // The error does not matter.
	if err != nil {
		return nil
	}
	return line
}
