package identity

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
)

// maxSubscriptions is how many subscriptions one connection of a module may have. Beyond: NATS closes it. A worker has two
// for each callback, one for each web resource, and some for each watch of its store.
const maxSubscriptions = 2048

// answerTime is how long a user may take to answer a question. It is longer than any sensible timeout in busd.yaml.
// Beyond: NATS refuses the answer, and the question runs into its timeout.
const answerTime = 24 * time.Hour

// User is the identity of a connection to NATS: a module, or one of the users below. Make one with [Module] or [Named].
type User struct{ id string }

// Module returns the user of a module. All its workers are this user.
func Module(name string) User { return User{modulePrefix + name} }

// These users are not modules.
var (
	Homeserver = User{"homeserver"} // asks, and serves the Module API
	Admin      = User{"admin"}      // may do everything on the bus: for the nats command, and for backups
	Busd       = User{"busd"}       // may do everything on the bus
	System     = User{"system"}     // of the system account: busd uses it to tell servers which users to refuse
)

const modulePrefix = "module "

// Named returns the user with the name that a server shows.
func Named(id string) User { return User{id} }

// Module returns the name of the module that the user is.
func (u User) Module() (name string, ok bool) { return strings.CutPrefix(u.id, modulePrefix) }

// Of returns the module or the homeserver that a credentials file is for, whichever bus made it; no user for what is not for one of them. An operator
// may name any user so: a bus also says on which subjects it may publish.
func Of(credentials []byte) User {
	token, err := jwt.ParseDecoratedJWT(credentials)
	if err != nil {
		return User{}
	}
	claims, err := jwt.DecodeUserClaims(token)
	if err != nil || len(claims.Pub.Allow) == 0 {
		return User{}
	}
	return Named(claims.Name)
}

// Shown returns who the token of a client says that it is, and that user's public key; nobody for what is no token. It is for clients that NATS has
// let in: their signature is not looked at again, which takes as long as letting the client in.
func Shown(token string) (u User, key string) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 { // header, claims, signature
		return User{}, ""
	}
	var claims struct {
		Name    string `json:"name"`
		Subject string `json:"sub"`
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(text, &claims) != nil {
		return User{}, ""
	}
	return Named(claims.Name), claims.Subject
}

// String is the user's name as servers show it.
func (u User) String() string { return u.id }
