package broker

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/credentials"
)

// probeTime is how long Probe waits for one node. Beyond: the node counts as unreachable.
const probeTime = 2 * time.Second

// connect connects to the external NATS: as one of the bus's users if NATS knows them, and otherwise as configured.
func (b *Broker) connect(o Options) (err error) {
	b.URL = shown(o.NATS.URL)
	if b.ours(o.NATS) && b.enter(o.NATS.URL, append(options(o.Log, ""), secured(o.NATS)...)) == nil {
		return nil
	}
	if err := checked(o.NATS.Credentials, o.Log); err != nil {
		return err
	}
	b.Conn, err = nats.Connect(o.NATS.URL, append(options(o.Log, o.NATS.Credentials), login(o.NATS)...)...)
	switch {
	case credentials.TurnedAway(err):
		return explained(err, o.NATS.Credentials)
	case err != nil:
		// The URL may hold a password, so it is not repeated.
		return fmt.Errorf("cannot connect to nats.url: %w: is NATS running there, and does it accept nats.credentials?", err)
	}
	o.Log.Warn().Msg("this NATS does not know the users of this bus: whoever it lets in can be any module, " +
		"unless it has permissions of its own; \"busd nats-config\" prints what it needs")
	return nil
}

// ours reports whether busd logs in with its own keys: if no credentials are configured, or if the configured ones are
// of its own keys.
func (b *Broker) ours(c config.NATS) bool {
	if c.Credentials == "" {
		return !strings.Contains(c.URL, "@")
	}
	text, err := os.ReadFile(c.Credentials)
	return err == nil && b.keys.Made(text)
}

// login returns the options with which busd logs in.
func login(c config.NATS) (opts []nats.Option) {
	if c.Credentials != "" {
		opts = append(opts, nats.UserCredentials(c.Credentials))
	}
	return append(opts, secured(c)...)
}

// secured returns the options for TLS.
func secured(c config.NATS) (opts []nats.Option) {
	if c.TLS.CA != "" {
		opts = append(opts, nats.RootCAs(c.TLS.CA))
	}
	if c.TLS.Cert != "" {
		opts = append(opts, nats.ClientCert(c.TLS.Cert, c.TLS.Key))
	}
	return opts
}

// Probe tries each node of an external NATS, and returns what is wrong with the nodes that do not let busd in: a
// connection that one node accepts would fail when it moves to such a node. It blocks at most two seconds for each
// node. The errors hold no password.
func Probe(c config.NATS) (problems []error) {
	for one := range strings.SplitSeq(c.URL, ",") {
		opts := append(options(zerolog.Nop(), c.Credentials), login(c)...)
		nc, err := nats.Connect(strings.TrimSpace(one), append(opts, nats.NoReconnect(), nats.Timeout(probeTime))...)
		if credentials.TurnedAway(err) {
			err = explained(err, c.Credentials)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("nats.url: %s: %w", shown(one), err))
			continue
		}
		nc.Close()
	}
	return problems
}
