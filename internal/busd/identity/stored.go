package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// generations are the generations of a user's key that were issued. Those before Oldest are refused.
type generations struct {
	Oldest  int       `json:"oldest"`
	Current int       `json:"current"`
	Rotated time.Time `json:"rotated,omitzero"` // when the current one was made
}

// record lists the users that were made, by id.
type record map[string]generations

// Credentials returns a credentials file of a user. The key stays the same until [Keys.Rotate]; the text contains the
// time at which it was made.
func (k *Keys) Credentials(u User) ([]byte, error) {
	g, err := k.update(u, func(g generations) generations { return g })
	if err != nil {
		return nil, err
	}
	return k.credentials(u, g.Current)
}

// Enlist records users that are about to get credentials, all at once: recording each by itself would wait for the disk
// each time.
func (k *Keys) Enlist(users ...User) error {
	return k.change(func(r record) {
		for _, u := range users {
			if _, known := r[u.id]; !known {
				r[u.id] = generations{}
			}
		}
	})
}

// Rotate returns a new credentials file for a user. The old one is accepted until [Keys.Retire], so that workers can be
// replaced one by one.
func (k *Keys) Rotate(u User) ([]byte, error) {
	g, err := k.update(u, func(g generations) generations { return generations{g.Oldest, g.Current + 1, time.Now()} })
	if err != nil {
		return nil, err
	}
	return k.credentials(u, g.Current)
}

// Retire makes later results of [Keys.Account] refuse all but the latest credentials of a user.
func (k *Keys) Retire(u User) error {
	_, err := k.update(u, func(g generations) generations { return generations{g.Current, g.Current, g.Rotated} })
	return err
}

// Rotation is a user whose credentials were replaced, and whose old ones are still accepted.
type Rotation struct {
	User    User
	Old     []string // public keys of the old credentials
	Current int      // the generation that replaces them
	Since   time.Time
}

// Rotating returns the users whose old credentials are still accepted.
func (k *Keys) Rotating() (all []Rotation, err error) {
	r, err := k.record()
	if err != nil {
		return nil, err
	}
	for id, g := range r {
		if g.Oldest == g.Current {
			continue
		}
		one := Rotation{User: User{id}, Current: g.Current, Since: g.Rotated}
		for n := g.Oldest; n < g.Current; n++ {
			public, err := k.public(one.User, n)
			if err != nil {
				return nil, err
			}
			one.Old = append(one.Old, public)
		}
		all = append(all, one)
	}
	return all, nil
}

// Version changes whenever this process or another one changes the record of issued credentials.
func (k *Keys) Version() string {
	info, err := os.Stat(k.file())
	if err != nil {
		return ""
	}
	var inode uint64 // A file system's clock is coarse, but each record is another file.
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = s.Ino
	}
	return fmt.Sprint(info.ModTime().UnixNano(), info.Size(), inode)
}

// update changes a user's part of the record, while no other process does.
func (k *Keys) update(u User, change func(generations) generations) (g generations, err error) {
	err = k.change(func(r record) {
		g = change(r[u.id])
		r[u.id] = g
	})
	return g, err
}

// change changes the record, while no other process does. An unchanged record is not written.
func (k *Keys) change(change func(record)) error {
	unlock, err := lock(filepath.Join(k.dir, "users.lock"))
	if err != nil {
		return fmt.Errorf("cannot record who has credentials: %w", err)
	}
	defer unlock()
	before, err := k.record()
	if err != nil {
		return err
	}
	r := maps.Clone(before)
	if change(r); maps.Equal(before, r) {
		return nil
	}
	return k.write(r)
}

func (k *Keys) file() string { return filepath.Join(k.dir, "users.json") }

// record returns the record, which must not be changed. It reads the file if it is another one than before.
func (k *Keys) record() (record, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	version := k.Version() // Taken before the file is read, so that a change in between is seen next time.
	if version != "" && version == k.version {
		return k.known, nil
	}
	r, err := k.read()
	if err == nil {
		k.known, k.version = r, version
	}
	return r, err
}

func (k *Keys) read() (record, error) {
	data, err := os.ReadFile(k.file())
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read who has credentials: %w", err)
	}
	r := record{}
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): bring back the one that was there; "+
			"without it, credentials that were replaced would be accepted again", k.file(), err)
	}
	return r, nil
}

// write replaces the record as a whole.
func (k *Keys) write(r record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(k.dir, ".users-*")
	if err != nil {
		return fmt.Errorf("cannot record who has credentials: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(append(data, '\n'))
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("cannot record who has credentials: %w", err)
	}
	return os.Rename(temp.Name(), k.file())
}

// lock waits until this process has the lock of a file.
func lock(file string) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil
}
