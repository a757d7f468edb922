// Package admission decides which clients may use the NATS of a bus.
//
// It hands modules their credentials, tells NATS which users to refuse when the roster or the credentials have changed, and
// watches connections: a client that uses the name of another module is disconnected, and refused clients are logged.
// It works the same for the server inside busd and for an external one that knows the bus's users; where NATS has users of
// its own, it does nothing. See ADR 33.
package admission

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/broker"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// admitTime is how long NATS may take to be told. Beyond: it is tried again in a second, and the log says so.
	admitTime = 5 * time.Second

	// look is how often the record of users with credentials is looked at: "busd credentials" changes it.
	look = time.Second
)

// Options say whom to let in where.
type Options struct {
	// Broker is NATS. Required.
	Broker *broker.Broker

	// Keys make the users. Required.
	Keys *identity.Keys

	// Dir is a folder of busd's own for the credentials of modules that it runs. It is made if it is not there. Required.
	Dir string

	// Listed are the modules on the roster at first.
	Listed []string

	// Replace has the workers of a module that busd runs take over new credentials, one after the other. It reports false if
	// busd runs none. Required.
	Replace func(ctx context.Context, module string) (ran bool, err error)

	// Connections is how many there may be with the credentials of one module. Default: 4096.
	Connections int

	// Log is told which connections were refused, and why.
	Log zerolog.Logger
}

// Admission decides which users may connect to the NATS of a bus. Its methods may be called concurrently.
type Admission struct {
	Options
	refused zerolog.Logger // of what others do, a few times a second at most
	telling sync.Mutex     // held while NATS is told
	mu      sync.Mutex     // guards what follows
	listed  []string
	leaving map[string]time.Time // until when modules that were listed are let in, for what they were asked
	warned  map[string]bool      // connections that show a wrong name, by what they show
	crowds  map[string]int       // connections of modules, by the public key of their credentials
	subs    []*nats.Subscription
	again   chan struct{} // NATS is to be told again
	cancel  context.CancelFunc
	owned   sync.WaitGroup
}

// Open begins to let modules in. Close must be called.
func Open(o Options) (*Admission, error) {
	ctx, cancel := context.WithCancel(context.Background())
	o.Connections = cmp.Or(o.Connections, maxConnections)
	a := &Admission{
		Options: o, listed: o.Listed, leaving: map[string]time.Time{}, warned: map[string]bool{}, crowds: map[string]int{},
		again: make(chan struct{}, 1), cancel: cancel,
		refused: o.Log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Second}),
	}
	if !o.Broker.Guarded() {
		return a, nil
	}
	if err := errors.Join(enlist(o.Keys, o.Listed), a.listen()); err != nil {
		a.Close()
		return nil, err
	}
	a.owned.Go(func() { a.run(ctx) })
	return a, nil
}

// enlist records all modules at once, before the credentials of each are wanted.
func enlist(keys *identity.Keys, modules []string) error {
	users := make([]identity.User, len(modules))
	for i, name := range modules {
		users[i] = identity.Module(name)
	}
	return keys.Enlist(users...)
}

// Close stops watching. It disconnects nobody.
func (a *Admission) Close() {
	a.cancel()
	for _, sub := range a.subs {
		_ = sub.Unsubscribe() // It fails only when the connection is closed.
	}
	a.owned.Wait()
}

// List has the modules on the roster let in at once, and others turned away when the budget is over, so that they answer what
// they were asked. It blocks until NATS knows, five seconds at most; if it does not know by then, it is told again.
func (a *Admission) List(modules []string, budget time.Duration) {
	a.mu.Lock()
	for _, name := range a.listed {
		a.leaving[name] = time.Now().Add(budget)
	}
	for _, name := range modules {
		delete(a.leaving, name)
	}
	a.listed = modules
	a.mu.Unlock()
	if !a.admit(context.Background()) {
		a.tellAgain()
	}
}

func (a *Admission) tellAgain() {
	select {
	case a.again <- struct{}{}:
	default: // It is already going to be told.
	}
}

// Credentials writes the credentials of a module to a file for the processes that busd runs, and returns its path; empty
// where NATS wants none of ours.
func (a *Admission) Credentials(module string) (path string, err error) {
	if !a.Broker.Guarded() {
		return "", nil
	}
	text, err := a.Keys.Credentials(identity.Module(module))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(a.Dir, 0o700); err != nil {
		return "", fmt.Errorf("cannot make the folder for credentials: %w", err)
	}
	path = filepath.Join(a.Dir, fileName(module))
	return path, replace(path, text)
}

// fileName is a name that no file system finds too long.
func fileName(module string) string {
	const longest = 200
	name := subjects.Token(module)
	if len(name) > longest {
		sum := sha256.Sum256([]byte(module))
		name = hex.EncodeToString(sum[:])
	}
	return name + ".creds"
}

// replace writes a file, with mode 0600, in one step: a reader finds either the old text or the new.
func replace(path string, text []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // With mode 0600.
	if err != nil {
		return fmt.Errorf("cannot write credentials: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(text)
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("cannot write credentials: %w", err)
	}
	return nil
}

// run keeps NATS told.
func (a *Admission) run(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	r := rotations{admission: a, tried: map[identity.User]int{}}
	version := "" // What NATS was told at its start may be older than the record.
	for told := true; ; {
		select {
		case <-ctx.Done():
			return
		case <-a.again:
			told = false
		case <-ticker.C:
		}
		a.recount(ctx)
		if now := a.Keys.Version(); now != version {
			version, told = now, false
		}
		if r.step(ctx) || a.left() {
			told = false
		}
		if !told {
			told = a.admit(ctx)
		}
	}
}

func (a *Admission) admit(ctx context.Context) bool {
	a.telling.Lock()
	defer a.telling.Unlock()
	ctx, cancel := context.WithTimeout(ctx, admitTime)
	defer cancel()
	if err := a.Broker.Admit(ctx, a.names()); err != nil {
		a.Log.Error().Err(err).Msg("who may connect to NATS has changed, and NATS does not know it yet: trying again")
		return false
	}
	return true
}

// names are the modules that are let in.
func (a *Admission) names() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.AppendSeq(slices.Clone(a.listed), maps.Keys(a.leaving))
}

// left forgets the modules whose time is over, and reports whether there are any.
func (a *Admission) left() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	before, now := len(a.leaving), time.Now()
	maps.DeleteFunc(a.leaving, func(_ string, end time.Time) bool { return now.After(end) })
	return len(a.leaving) < before
}
