package roster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/statedir"
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Memory keeps the roster in a file, so that a busd that starts knows what modules registered last. A nil Memory keeps
// nothing. It is used by one goroutine at a time.
type Memory struct {
	path    string
	earlier *rosterv1.Roster
	kept    *rosterv1.Roster // the lasting part of the roster, as the file has it
	writing chan error       // of a write that has not come back; nil when there is none
	next    *rosterv1.Roster // the roster that it writes
}

// keepTime is how long a write may delay the publication of a roster. A slower write goes on in the background.
const keepTime = time.Second

// OpenMemory reads the file of a homeserver's roster in the folder, which must exist. Without a file, nothing is
// remembered. A file that cannot be read is an error: without it, busd might ask no module.
func OpenMemory(folder, serverName string) (*Memory, error) {
	m := &Memory{path: filepath.Join(folder, "roster-"+subjects.Token(serverName)+".json"), earlier: &rosterv1.Roster{}}
	data, err := os.ReadFile(m.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return m, nil
	case err == nil:
		err = wire.Decode(data, wire.JSON, m.earlier)
	}
	if err != nil {
		return nil, fmt.Errorf("state_dir: cannot read what modules registered last: %w: remove %s to begin without, "+
			"after which modules are asked nothing but what is named under callbacks until they join", err, m.path)
	}
	m.kept = lasting(m.earlier)
	return m, nil
}

// Earlier is the roster that the file had when it was opened; empty when there was none.
func (m *Memory) Earlier() *rosterv1.Roster { return m.earlier }

// Keep writes the roster to the file, if what modules registered has changed, or the file is gone. It waits for the
// disk for at most a second; a slower write goes on in the background, and a later Keep returns its error.
func (m *Memory) Keep(r *rosterv1.Roster) error {
	if m == nil {
		return nil
	}
	if m.writing != nil {
		if err := m.settle(0); err != nil {
			return err
		}
	}
	if m.has(r) {
		return nil
	}
	m.writing, m.next = make(chan error, 1), lasting(r)
	go func(done chan<- error) { done <- explained(m.path, write(m.path, r)) }(m.writing)
	return m.settle(keepTime)
}

var errSlow = errors.New("the disk of state_dir does not answer")

// settle waits for the write under way, if there is one, and returns its error.
func (m *Memory) settle(most time.Duration) error {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case err := <-m.writing:
		return m.wrote(err)
	case <-timer.C:
	}
	select {
	case err := <-m.writing:
		return m.wrote(err)
	default:
		return errSlow
	}
}

func (m *Memory) wrote(err error) error {
	m.writing = nil
	if err == nil {
		m.kept = m.next
	}
	return err
}

// has reports whether the file has all that must be kept of the roster.
func (m *Memory) has(r *rosterv1.Roster) bool {
	_, err := os.Stat(m.path)
	return err == nil && m.kept != nil && proto.Equal(m.kept, lasting(r))
}

// lasting returns a roster without the parts that do not outlive busd, such as workers.
func lasting(r *rosterv1.Roster) *rosterv1.Roster {
	out := &rosterv1.Roster{}
	for _, m := range rosterwire.Modules(r) {
		m = proto.CloneOf(m)
		m.Workers = nil
		out.Modules = append(out.Modules, m)
	}
	return out
}

// write writes the roster to a new file, which replaces the old one when it is on the disk completely.
func write(path string, r *rosterv1.Roster) error {
	data, err := wire.Encode(r, wire.JSON)
	if err != nil {
		return err
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // It is not there any more when all went well.
	_, err = f.Write(append(data, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(folder)
}

// explained adds to an error of the disk what the operator can do about it.
func explained(path string, err error) error {
	if err == nil {
		return nil
	}
	return statedir.Explain(filepath.Dir(path), "cannot write "+filepath.Base(path), err)
}

// syncFolder syncs the folder, so that the file's new name is on the disk, too.
func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
