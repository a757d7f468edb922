package broker

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/busd/identity"
)

// inboxPrefix begins the subjects on which busd's requests are answered. It is not _INBOX, because a homeserver may
// listen to all of that.
const inboxPrefix = "_INBOX_BUSD"

// Guarded reports whether NATS accepts only users that are signed with busd's keys, so that modules need credentials:
// always for the embedded server, and for an external one that is configured with what `busd nats-config` prints.
func (b *Broker) Guarded() bool { return b.System != nil }

// Admit makes NATS accept the listed modules, and disconnect all others and clients with retired credentials. It does
// nothing if NATS has users of its own. It blocks until NATS has accepted the change, or ctx ends.
func (b *Broker) Admit(ctx context.Context, listed []string) error {
	if !b.Guarded() {
		return nil
	}
	account, err := b.keys.Account(listed)
	if err != nil {
		return err
	}
	if b.server != nil {
		return errors.Join(identity.Tell(b.server, account), b.Divert(standing, standing))
	}
	return identity.Push(ctx, b.System, account)
}

// enter makes busd's two connections: one to the account of the bus, and one to NATS's system account.
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

// errUnknown is the error of a NATS that lets clients in without checking busd's credentials.
var errUnknown = errors.New("NATS does not know the users of this bus")

// known asks NATS which user busd is, because a server that lets every client in does not look at credentials.
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
