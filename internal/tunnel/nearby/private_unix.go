//go:build unix

package nearby

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// private returns an error if other users can enter the folder.
func private(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || info.Mode().Perm() != 0o700 || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("nearby: %s is not a folder of this user with mode 0700", dir)
	}
	return nil
}

func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// gone reports whether nothing can be sent because the other side has closed the line.
func gone(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) }
