package identity

import (
	"fmt"

	"github.com/nats-io/jwt/v2"
)

// serverConfig is the configuration of each server of a cluster. The resolver's folder is where it keeps later versions
// of the account, which busd sends.
const serverConfig = `# Who may connect to modulebus of %[1]s: for the configuration of each server of your NATS.
# It stays as it is when modules come and go: busd tells the servers.
operator: %[2]s
system_account: %[3]s
resolver: {type: full, dir: "modulebus-accounts", allow_delete: false, interval: "2m"}
resolver_preload: {
  %[3]s: %[4]s
  %[5]s: %[6]s
}
`

// ServerConfig returns what an external NATS needs in its configuration file.
func (k *Keys) ServerConfig(listed []string) (string, error) {
	operator, err := k.Operator()
	if err != nil {
		return "", err
	}
	system, err := k.SystemAccount()
	if err != nil {
		return "", err
	}
	account, err := k.Account(listed)
	if err != nil {
		return "", err
	}
	token, err := operator.Encode(k.operator)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(serverConfig, k.name, token, system.ID, system.Token, account.ID, account.Token), nil
}

// Claims decodes the account's token.
func (a Account) Claims() (*jwt.AccountClaims, error) { return jwt.DecodeAccountClaims(a.Token) }
