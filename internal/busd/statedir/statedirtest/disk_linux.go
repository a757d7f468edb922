// Package statedirtest makes file systems for tests that fill up or become read-only.
package statedirtest

import (
	"syscall"
	"testing"
)

// Disk returns a folder that is a file system of 64 KiB, until the test ends. Only root can make one; for other users
// the test is skipped.
func Disk(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		tb.Skip("only root can make a file system of its own: ", err)
	}
	tb.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			tb.Error(err)
		}
	})
	return dir
}

// Remount mounts a disk again while it is in use: with [syscall.MS_RDONLY] for reading only, with 0 for writing, too.
func Remount(tb testing.TB, dir string, flags uintptr) {
	tb.Helper()
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, ""); err != nil {
		tb.Fatal(err)
	}
}
