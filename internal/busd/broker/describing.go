package broker

import (
	"bytes"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/subjects"
)

// Describing returns how many requests that describe streams wait in the embedded server. It has one queue for those of all clients.
func (b *Broker) Describing() (waiting int) {
	if b.server == nil {
		return 0
	}
	for _, queue := range *b.server.Ipqueuesz(&server.IpqueueszOptions{Filter: "JetStream API info queue"}) {
		waiting += queue.Pending
	}
	return waiting
}

// HearDescribed calls heard for each stream that the embedded server has described to somebody, until the subscription ends.
func (b *Broker) HearDescribed(heard func(stream string)) (*nats.Subscription, error) {
	return b.Conn.Subscribe(server.JSAuditAdvisory, func(m *nats.Msg) {
		// Its text has all that was answered, some megabytes, and this before it. What a client has put into it has its quotes escaped.
		_, rest, _ := bytes.Cut(m.Data, []byte(`"subject":"`))
		subject, _, whole := bytes.Cut(rest, []byte(`"`))
		if stream, ok := bytes.CutPrefix(subject, []byte(subjects.Description(""))); ok && whole {
			heard(string(stream))
		}
	})
}

// DropDescribing has the embedded server drop the requests that describe streams and that wait: it drops all when there are too many. So busd
// sends as many as are missing.
func (b *Broker) DropDescribing() error {
	for range infoQueue - b.Describing() {
		if err := b.Conn.Publish(server.JSApiAccountInfo, nil); err != nil {
			return err
		}
	}
	return b.Conn.Flush()
}
