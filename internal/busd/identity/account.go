package identity

import (
	"errors"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
)

// Trust configures a server to accept only the users of the bus. listed are the modules on the roster; others are
// refused.
func (k *Keys) Trust(o *server.Options, listed []string) error {
	operator, err := k.Operator()
	if err != nil {
		return err
	}
	system, err := k.SystemAccount()
	if err != nil {
		return err
	}
	account, err := k.Account(listed)
	if err != nil {
		return err
	}
	resolver := &server.MemAccResolver{}
	o.TrustedOperators, o.AccountResolver, o.SystemAccount = []*jwt.OperatorClaims{operator}, resolver, system.ID
	return errors.Join(resolver.Store(system.ID, system.Token), resolver.Store(account.ID, account.Token))
}

// Operator returns the claims of the operator that servers trust.
func (k *Keys) Operator() (*jwt.OperatorClaims, error) {
	public, err := k.operator.PublicKey()
	if err != nil {
		return nil, err
	}
	claims := jwt.NewOperatorClaims(public)
	claims.Name = "modulebus " + k.name
	if claims.SystemAccount, err = k.system.PublicKey(); err != nil {
		return nil, err
	}
	_, err = claims.Encode(k.operator) // Encode fills in the issuer and the time.
	return claims, err
}

// Account is an account of NATS.
type Account struct {
	ID    string // its public key
	Token string // its signed text, which servers resolve the ID to
}

// SystemAccount returns the account in which servers report on themselves.
func (k *Keys) SystemAccount() (Account, error) {
	return k.sign(k.system, "SYS", func(c *jwt.AccountClaims) error { return nil })
}

// Account returns the account of the bus. It turns away modules that are not listed, and credentials that were replaced.
// JetStream is on, without a limit but the server's own.
func (k *Keys) Account(listed []string) (Account, error) {
	r, err := k.record()
	if err != nil {
		return Account{}, err
	}
	return k.sign(k.account, "modulebus "+k.name, func(c *jwt.AccountClaims) error {
		c.Limits.JetStreamLimits = jwt.JetStreamLimits{
			MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit,
		}
		return k.revoke(c, r, listed)
	})
}

// never is later than any clock that signs credentials.
var never = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
