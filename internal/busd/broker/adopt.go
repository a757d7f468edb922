package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// adopt renames the folder in which an earlier server kept JetStream's data, one without users or one whose keys were
// lost, to the account's: JetStream has a folder for each account. If the account has a folder already, or if there are
// several folders, it changes nothing.
func adopt(storeDir, account, system string) error {
	root := filepath.Join(storeDir, "jetstream")
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	var others []string
	for _, e := range entries {
		switch e.Name() {
		case account:
			return nil
		case system:
		default:
			others = append(others, e.Name())
		}
	}
	if len(others) != 1 {
		return nil
	}
	if err := os.Rename(filepath.Join(root, others[0]), filepath.Join(root, account)); err != nil {
		return fmt.Errorf("state_dir: cannot take over what modules stored: %w", err)
	}
	return nil
}
