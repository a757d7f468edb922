package policyserver

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	algorithm  = "ed25519"
	keyVersion = "policy_server"

	// KeyID is the ID of a policy server's key, which the specification fixes.
	KeyID = algorithm + ":" + keyVersion

	// maxKeyFile is the size of a file with a key in bytes. Beyond: busd does not start.
	maxKeyFile = 4 << 10
)

// Key signs the events that pass.
type Key struct{ private ed25519.PrivateKey }

// Public returns the public half in unpadded base64, as in the rooms' state.
func (k Key) Public() string {
	return base64.RawStdEncoding.EncodeToString(k.private.Public().(ed25519.PublicKey))
}

// OpenKey reads the key in the file, in the format of Synapse's signing keys: "ed25519 policy_server <seed>". If there
// is no file, it makes a key and a file that only this user can read. The error says what to do; it never quotes the
// file.
func OpenKey(path string) (Key, error) {
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := makeKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return Key{}, fmt.Errorf("cannot make a key in %s: %w", path, err)
	}
	return readKey(path)
}

// CheckKey returns the error that [OpenKey] would return for the file. A file that does not exist yet is no error.
func CheckKey(path string) error {
	if _, err := readKey(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func readKey(path string) (Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return Key{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return Key{}, err
	}
	key, err := parseKey(string(text))
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

func parseKey(text string) (Key, error) {
	words := strings.Fields(text)
	switch {
	case len(text) > maxKeyFile || len(words) != 3 || words[0] != algorithm:
		return Key{}, errors.New("is no signing key: there must be one line, \"ed25519 policy_server <seed>\"; remove the file, and busd makes a new key")
	case words[1] != keyVersion:
		return Key{}, errors.New("has a key that is not a policy server's, such as a homeserver's own: name a file of busd's own as key_file")
	}
	seed, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(words[2], "="))
	if err != nil || len(seed) != ed25519.SeedSize {
		return Key{}, errors.New("has a seed that is not 32 bytes in base64: remove the file, and busd makes a new key")
	}
	return Key{ed25519.NewKeyFromSeed(seed)}, nil
}

// makeKey makes the file with a new key. The file appears complete or not at all, and never replaces another.
func makeKey(path string) (err error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // It is for this user alone.
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = fmt.Fprintf(f, "%s %s %s\n", algorithm, keyVersion, base64.RawStdEncoding.EncodeToString(private.Seed()))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}
