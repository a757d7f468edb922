package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

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
