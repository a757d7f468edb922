package broker

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/busd/config"
)

func external(c config.NATS, opts []nats.Option) (*Broker, error) {
	if c.Credentials != "" {
		opts = append(opts, nats.UserCredentials(c.Credentials))
	}
	if c.TLS.CA != "" {
		opts = append(opts, nats.RootCAs(c.TLS.CA))
	}
	if c.TLS.Cert != "" {
		opts = append(opts, nats.ClientCert(c.TLS.Cert, c.TLS.Key))
	}
	nc, err := nats.Connect(c.URL, opts...)
	if err != nil {
		// The URL may hold a password, so it is not repeated.
		return nil, fmt.Errorf("cannot connect to nats.url: %w: is NATS running there, and does it accept nats.credentials?", err)
	}
	return &Broker{Conn: nc, URL: c.URL}, nil
}
