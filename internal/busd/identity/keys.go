package identity

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/modulebus/modulebus/subjects"
)

// In returns the folder of the keys in state_dir.
func In(stateDir string) string { return filepath.Join(stateDir, "keys") }

// Keys are the keys of one bus, and the record of which users were made with them. The methods may be called
// concurrently, also by several processes that share the folder.
type Keys struct {
	dir                       string
	server                    subjects.Server
	name                      string
	operator, account, system nkeys.KeyPair

	mu      sync.Mutex // guards what follows
	known   record     // as read last
	version string     // of the file when it was read
}

// revoke marks the users that were made and are no longer accepted.
func (k *Keys) revoke(c *jwt.AccountClaims, r record, listed []string) error {
	may := map[User]bool{Homeserver: true, Admin: true, Busd: true}
	for _, name := range listed {
		may[Module(name)] = true
	}
	for id, g := range r {
		end := g.Oldest
		if !may[User{id}] {
			end = g.Current + 1
		}
		for n := range end {
			if err := k.revokeGeneration(c, User{id}, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *Keys) revokeGeneration(c *jwt.AccountClaims, u User, generation int) error {
	public, err := k.public(u, generation)
	if err != nil {
		return err
	}
	c.RevokeAt(public, never)
	return nil
}

func (k *Keys) sign(account nkeys.KeyPair, name string, fill func(*jwt.AccountClaims) error) (Account, error) {
	public, err := account.PublicKey()
	if err != nil {
		return Account{}, err
	}
	claims := jwt.NewAccountClaims(public)
	claims.Name = name
	if err := fill(claims); err != nil {
		return Account{}, err
	}
	token, err := claims.Encode(k.operator)
	if err != nil {
		return Account{}, fmt.Errorf("cannot sign account %s: %w", name, err)
	}
	return Account{public, token}, nil
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

// Server has the subjects of the bus.
func (k *Keys) Server() subjects.Server { return k.server }

// Open reads the keys in a folder, or makes them and the folder if there are none. Whoever reads the folder can
// impersonate any module, so only this user may (0700).
func Open(dir, serverName string) (*Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the folder for keys: %w", err)
	}
	k := &Keys{dir: dir, server: subjects.For(serverName), name: serverName}
	for _, key := range []struct {
		to   *nkeys.KeyPair
		file string
		new  func() (nkeys.KeyPair, error)
	}{
		{&k.operator, "operator.nk", nkeys.CreateOperator},
		{&k.account, "account.nk", nkeys.CreateAccount},
		{&k.system, "system.nk", nkeys.CreateAccount},
	} {
		pair, err := openKey(filepath.Join(dir, key.file), key.new)
		if err != nil {
			return nil, err
		}
		*key.to = pair
	}
	return k, nil
}

// openKey reads a key, or makes it. Of two processes that make it at once, one wins.
func openKey(file string, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, error) {
	pair, err := readKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return pair, err
	}
	pair, err = create()
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	if err := writeNew(file, append(seed, '\n')); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot keep a key: %w", err)
	}
	return readKey(file)
}

func readKey(file string) (nkeys.KeyPair, error) {
	seed, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("cannot read a key: %w: let user %d own the file and its folder", err, os.Geteuid())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read a key: %w", err)
	}
	pair, err := nkeys.ParseDecoratedNKey(seed)
	if err != nil {
		return nil, fmt.Errorf("%s is no key: bring back the one that was there; "+
			"without it every module needs new credentials, which removing the folder gives", file)
	}
	return pair, nil
}

// writeNew writes a file that does not exist yet. Other processes see it complete or not at all.
func writeNew(file string, data []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(file), ".new-*") // With mode 0600.
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	return os.Link(temp.Name(), file)
}
