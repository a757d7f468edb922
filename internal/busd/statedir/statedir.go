// Package statedir locks a folder, so that one busd at a time uses it.
//
//	dir, err := statedir.Open("/var/lib/modulebus")
//	if err != nil {
//		return err // "… is in use by another busd (pid 4711) …"
//	}
//	defer dir.Close()
//
// The lock is the kernel's (flock), so it ends with the process that holds it: a busd that was killed leaves nothing to
// clean up. See ADR 18.
package statedir

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// lockName is the file that is locked. It contains the process ID of the busd that holds the lock, for people.
const lockName = "busd.lock"

// Dir is a folder that only this process uses. Its methods must not be called concurrently with Close.
type Dir struct {
	path string
	lock *os.File
	temp bool // Close removes it
}

// Open locks the folder. If there is none, it makes one for this user alone (0700). It does not touch the folder's
// content before it has the lock, and does not wait for the lock: if another busd uses the folder, it returns an error
// that names its process. Close must be called.
func Open(path string) (*Dir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, Explain(path, "cannot make the folder", err)
	}
	if err := private(path); err != nil {
		return nil, err
	}
	d := &Dir{path: path}
	if d.lock, err = lock(path); err != nil {
		return nil, err
	}
	if err := writable(path); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// writable returns an error for a folder in which no file can be made, although those that are there can be written.
func writable(path string) error {
	f, err := os.CreateTemp(path, ".new-*")
	if err != nil {
		return Explain(path, "cannot write into the folder", err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Temporary returns a new folder that Close removes. It also removes the temporary folders of this user's busds that
// were killed.
func Temporary() (*Dir, error) {
	sweep(os.TempDir())
	path, err := os.MkdirTemp("", temporary)
	if err != nil {
		return nil, fmt.Errorf("cannot make a folder for this run: %w", err)
	}
	d := &Dir{path: path, temp: true}
	if d.lock, err = lock(path); err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return d, nil
}

// temporary is the prefix of the names of temporary folders.
const temporary = "busd-"

// sweep removes the temporary folders whose busd is certainly dead: they are this user's, a busd has signed them, and
// their lock is free.
func sweep(dir string) {
	paths, _ := filepath.Glob(filepath.Join(dir, temporary+"*")) // The pattern is valid.
	for _, path := range paths {
		if info, err := os.Lstat(path); err == nil && info.IsDir() && stranger(info) == 0 && abandoned(path) {
			_ = os.RemoveAll(path) // What is left of it is the system's to clean.
		}
	}
}

// abandoned reports whether a busd used the folder and no longer does. A busd signs the folder when it has the lock.
func abandoned(path string) bool {
	f, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return holder(f) != "" && flock(f) == nil
}

// Path returns the path of a file in the folder.
func (d *Dir) Path(name string) string { return filepath.Join(d.path, name) }

// Close releases the folder.
func (d *Dir) Close() {
	if d.temp {
		_ = os.RemoveAll(d.path) // What is left of it is the system's to clean.
	}
	_ = d.lock.Close() // The lock goes with its last descriptor.
}

// private makes the folder readable by this user only, because it holds keys and what modules store.
func private(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return Explain(path, "cannot look at the folder", err)
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder: name another one", path)
	case stranger(info) != 0:
		return fmt.Errorf("%s belongs to user %d, who could read the keys in it: give it to the user that runs busd (chown), or name another folder",
			path, stranger(info))
	case info.Mode().Perm()&0o077 == 0:
		return nil
	}
	if err := os.Chmod(path, 0o700); err != nil { //nolint:gosec // A folder is entered by its x.
		return Explain(path, "others can read the folder, and busd cannot change that", err)
	}
	return nil
}

// stranger returns the owner of the folder if it is neither this user nor root, who can read everything anyway;
// otherwise 0.
func stranger(info fs.FileInfo) int {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(owner.Uid) == os.Geteuid() {
		return 0
	}
	return int(owner.Uid)
}

func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, Explain(path, "cannot open its "+lockName, err)
	}
	switch err := flock(f); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		err = fmt.Errorf("%s is in use by another busd%s: stop that one, or give this one another folder", path, holder(f))
		return nil, errors.Join(err, f.Close())
	case err != nil:
		return nil, errors.Join(Explain(path, "its file system does not lock files (keep it on a disk of this machine)", err), f.Close())
	}
	if err := sign(f); err != nil {
		return nil, errors.Join(Explain(path, "cannot write into the folder", err), f.Close())
	}
	return f, nil
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// holder says which process holds the lock, if it is known: " (pid 4711)".
func holder(f *os.File) string {
	const longest = 20
	text, err := io.ReadAll(io.LimitReader(f, longest))
	pid, bad := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil || bad != nil {
		return ""
	}
	return fmt.Sprintf(" (pid %d)", pid)
}

// sign writes this process's ID to the lock's file.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// Explain wraps an error of the file system: it says what could not be done in a folder, and what an operator can do
// about it.
func Explain(path, what string, err error) error {
	if cause, ok := errors.AsType[*fs.PathError](err); ok { // Its path is part of ours.
		err = cause.Err
	}
	help := "name a folder that busd may write to"
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		help = "make room on that disk"
	case errors.Is(err, fs.ErrPermission):
		help = fmt.Sprintf("let user %d write into it (chmod 700) and own it, or name another folder", os.Geteuid())
	case errors.Is(err, syscall.ENOTDIR):
		help = "a file is in its place: name a folder"
	case errors.Is(err, syscall.EEXIST):
		help = "a link that leads nowhere is in its place: make what it leads to, or name a folder"
	case errors.Is(err, syscall.EROFS):
		help = "mount it for writing, or name another folder"
	}
	return fmt.Errorf("%s: %s: %w: %s", path, what, err, help)
}
