package admission_test

import (
	"net"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/subjects"
)

// deaf is a connection that takes nothing any more once it is told so, until the test ends.
type deaf struct {
	net.Conn
	told, over <-chan struct{}
}

func (d deaf) Read(b []byte) (int, error) {
	select {
	case <-d.told:
		<-d.over
		return 0, net.ErrClosed
	default:
		return d.Conn.Read(b)
	}
}

// Dial implements nats.CustomDialer.
func (d deaf) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return deaf{conn, d.told, d.over}, err
}

func TestClientsThatDoNotTakeWhatTheyAreSentAreBoundedTogether(t *testing.T) {
	t.Parallel()
	s := open(t, homes["embedded"])
	told, over := make(chan struct{}), make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(over) }))
	inbox := subjects.For("example.com").Inbox("gate", "w")
	for range 4 {
		nc := s.connect(s.file("gate"), nats.NoReconnect(), nats.SetCustomDialer(deaf{told: told, over: over}), nats.CustomInboxPrefix(inbox))
		if _, err := nc.SubscribeSync(inbox + ".x"); err != nil {
			t.Fatal(err)
		}
		must(t, nc.Flush())
	}
	other := s.connect(s.file("other"), nats.NoReconnect())
	close(told)
	s.eventually("those that take nothing are disconnected", func() bool {
		must(t, s.broker.Conn.Publish(inbox+".x", make([]byte, 1<<20-1024)))
		must(t, s.broker.Conn.Flush())
		return s.log.Count("does not take what it is sent") >= 4
	})
	s.eventually("NATS holds nothing for them", func() bool { return len(s.broker.Unread()) == 0 })
	must(t, other.Flush())
}
