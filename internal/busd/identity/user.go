package identity

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/modulebus/modulebus/subjects"
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

// Made reports whether a credentials file is one of a user of this bus.
func (k *Keys) Made(credentials []byte) bool {
	token, err := jwt.ParseDecoratedJWT(credentials)
	if err != nil {
		return false
	}
	claims, err := jwt.DecodeUserClaims(token)
	return err == nil && k.Issued(claims)
}

// Issued reports whether this bus signed the claims.
func (k *Keys) Issued(claims *jwt.UserClaims) bool {
	public, err := k.account.PublicKey()
	return err == nil && claims.Issuer == public
}

// String is the user's name as servers show it.
func (u User) String() string { return u.id }

// Login returns the option with which busd's own connections log in as a user.
func (k *Keys) Login(u User) (nats.Option, error) {
	text, err := k.Credentials(u)
	if err != nil {
		return nil, err
	}
	return nats.UserCredentialBytes(text), nil
}

// key derives the user's key of a generation.
func (k *Keys) key(u User, generation int) (nkeys.KeyPair, error) {
	seed, err := k.signer(u).Seed()
	if err != nil {
		return nil, err
	}
	_, raw, err := nkeys.DecodeSeed(seed)
	if err != nil {
		return nil, err
	}
	derived, err := hkdf.Key(sha256.New, raw, nil, fmt.Sprintf("modulebus user %d %s", generation, u.id), 32)
	if err != nil {
		return nil, err
	}
	return nkeys.FromRawSeed(nkeys.PrefixByteUser, derived)
}

// public returns the public key by which servers know a generation of a user.
func (k *Keys) public(u User, generation int) (string, error) {
	pair, err := k.key(u, generation)
	if err != nil {
		return "", err
	}
	return pair.PublicKey()
}

// signer is the key of the user's account.
func (k *Keys) signer(u User) nkeys.KeyPair {
	if u == System {
		return k.system
	}
	return k.account
}

// credentials returns the text of a NATS credentials file for a generation of a user.
func (k *Keys) credentials(u User, generation int) ([]byte, error) {
	pair, err := k.key(u, generation)
	if err != nil {
		return nil, err
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, err
	}
	claims := jwt.NewUserClaims(public)
	claims.Name = u.id
	claims.Permissions = k.permissions(u)
	if _, ok := u.Module(); ok {
		claims.Subs = maxSubscriptions
	}
	token, err := claims.Encode(k.signer(u))
	if err != nil {
		return nil, err
	}
	seed, err := pair.Seed()
	if err != nil {
		return nil, err
	}
	return jwt.FormatUserConfig(token, seed)
}

// permissions returns what a user may do; empty for users that may do everything in their account.
func (k *Keys) permissions(u User) (p jwt.Permissions) {
	var may subjects.Permissions
	if name, ok := u.Module(); ok {
		may = k.server.ModulePermissions(name)
	} else if u == Homeserver {
		may = k.server.HomeserverPermissions()
	} else {
		return p
	}
	p.Pub.Allow.Add(may.Publish...)
	p.Sub.Allow = may.Subscribe // Add would not accept the queue groups.
	p.Resp = &jwt.ResponsePermission{MaxMsgs: 1, Expires: answerTime}
	return p
}
