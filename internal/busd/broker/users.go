package broker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/busd/identity"
)

// inboxPrefix is where busd's own requests are answered. A homeserver may listen to all of _INBOX.
const inboxPrefix = "_INBOX_BUSD"

// Guarded reports whether NATS lets in only whom busd's keys vouch for, so that modules need credentials: always for the
// server inside, and for an external one that has what `busd nats-config` prints.
func (b *Broker) Guarded() bool { return b.System != nil }

// Admit has NATS let in the modules that are listed, and turn away all others, and credentials that were replaced: they are
// disconnected. It does nothing where NATS has users of its own, and blocks until NATS has taken it, or ctx ends.
func (b *Broker) Admit(ctx context.Context, listed []string) error {
	if !b.Guarded() {
		return nil
	}
	account, err := b.keys.Account(listed)
	if err != nil {
		return err
	}
	if b.server != nil {
		return identity.Tell(b.server, account)
	}
	return identity.Push(ctx, b.System, account)
}

// enter connects busd as the users that it is: in the account of the bus, and in NATS's system account.
func (b *Broker) enter(url string, opts []nats.Option) (err error) {
	if b.Conn, err = b.dial(url, identity.Busd, append(opts, nats.CustomInboxPrefix(inboxPrefix))); err != nil {
		return err
	}
	if b.System, err = b.dial(url, identity.System, opts); err == nil {
		err = b.known()
	}
	if err != nil {
		b.leave()
	}
	return err
}

// leave undoes enter.
func (b *Broker) leave() {
	b.Conn.Close()
	if b.System != nil {
		b.System.Close()
	}
	b.Conn, b.System = nil, nil
}

// errUnknown says that NATS takes any credentials for those of anybody.
var errUnknown = errors.New("NATS does not know the users of this bus")

// known asks NATS who it takes busd for: a server that lets in everybody looks at no credentials.
func (b *Broker) known() error {
	system, err := b.keys.SystemAccount()
	if err != nil {
		return err
	}
	m, err := b.System.Request("$SYS.REQ.USER.INFO", nil, probeTime)
	if err != nil {
		return errUnknown
	}
	var answer struct {
		Data struct {
			Account string `json:"account"`
		} `json:"data"`
	}
	if json.Unmarshal(m.Data, &answer) != nil || answer.Data.Account != system.ID {
		return errUnknown
	}
	return nil
}

func (b *Broker) dial(url string, u identity.User, opts []nats.Option) (*nats.Conn, error) {
	login, err := b.keys.Login(u)
	if err != nil {
		return nil, err
	}
	return nats.Connect(url, append(slices.Clip(opts), login)...)
}
