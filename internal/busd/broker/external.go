package broker

import (
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
)

// probeTime is how long [Probe] waits for one node. Beyond: the node counts as unreachable.
const probeTime = 2 * time.Second

// connect connects to the external NATS.
func (b *Broker) connect(o Options) (err error) {
	b.URL = o.NATS.URL
	b.Conn, err = nats.Connect(b.URL, append(options(o.Log), login(o.NATS)...)...)
	if err != nil {
		// The URL may hold a password, so it is not repeated.
		return fmt.Errorf("cannot connect to nats.url: %w: is NATS running there, and does it accept nats.credentials?", err)
	}
	return nil
}

// login says who busd is.
func login(c config.NATS) (opts []nats.Option) {
	if c.Credentials != "" {
		opts = append(opts, nats.UserCredentials(c.Credentials))
	}
	if c.TLS.CA != "" {
		opts = append(opts, nats.RootCAs(c.TLS.CA))
	}
	if c.TLS.Cert != "" {
		opts = append(opts, nats.ClientCert(c.TLS.Cert, c.TLS.Key))
	}
	return opts
}

// Probe tries each node of an external NATS by itself, and returns what is wrong with those that do not let busd in: a
// connection that one node accepts is refused when it moves to another. It blocks for two seconds for each node at most.
// What it returns holds no password.
func Probe(c config.NATS) (problems []error) {
	for one := range strings.SplitSeq(c.URL, ",") {
		opts := append(options(zerolog.Nop()), login(c)...)
		nc, err := nats.Connect(strings.TrimSpace(one), append(opts, nats.NoReconnect(), nats.Timeout(probeTime))...)
		if err != nil {
			problems = append(problems, fmt.Errorf("nats.url: %s: %w", shown(one), err))
			continue
		}
		nc.Close()
	}
	return problems
}
