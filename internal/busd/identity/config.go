package identity

import (
	"strings"
	"text/template"

	"github.com/nats-io/jwt/v2"
)

// serverConfig is the configuration of each server of a cluster. The resolver's folder is where it keeps later versions
// of the account, which busd sends.
//
//nolint:lll // It is the text of a file.
var serverConfig = template.Must(template.New("").Parse(`# Who may connect to modulebus of {{.ServerName}}: for the configuration of each server of your NATS.
# It stays as it is when modules come and go: busd tells the servers.
operator: {{.Operator}}
system_account: {{.System.ID}}
resolver: {type: full, dir: "modulebus-accounts", allow_delete: false, interval: "2m"}
resolver_preload: {
  {{.System.ID}}: {{.System.Token}}
  {{.Account.ID}}: {{.Account.Token}}
}
`))

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
	var text strings.Builder
	err = serverConfig.Execute(&text, struct {
		ServerName, Operator string
		System, Account      Account
	}{k.name, token, system, account})
	return text.String(), err
}

// Claims decodes the account's token.
func (a Account) Claims() (*jwt.AccountClaims, error) { return jwt.DecodeAccountClaims(a.Token) }
