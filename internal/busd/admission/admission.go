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
	// admitTime is how long NATS may take to accept a list of users. Beyond: it is sent again in a second, and the log
	// says so.
	admitTime = 5 * time.Second

	// look is how often the record of users with credentials is read, because "busd credentials" changes it.
	look = time.Second
)

// Options configure [Open].
type Options struct {
	// Broker is NATS. Required.
	Broker *broker.Broker

	// Keys make the users. Required.
	Keys *identity.Keys

	// Dir is a folder of busd's own for the credentials of modules that it runs. It is made if it is not there. Required.
	Dir string

	// Listed are the modules on the roster at the start.
	Listed []string

	// Replace replaces the workers of a module that busd runs, one after the other, so that they use new credentials. It
	// reports false if busd does not run the module. Required.
	Replace func(ctx context.Context, module string) (ran bool, err error)

	// Connections is how many connections may use the credentials of one module. Default: 4096.
	Connections int

	// Unread is how many bytes the NATS inside busd may hold for the connections of one user. Default: 128 MiB.
	Unread int

	// Backlog is how many answers of one module's store may wait in the NATS inside busd while its memory has grown by Unread bytes. Default: 64.
	Backlog int

	// Undescribed is for how long requests that describe a module's store are turned down the first time. Default: 30 seconds.
	Undescribed time.Duration

	// Log is told which connections were refused, and why.
	Log zerolog.Logger
}

// Admission decides which users may connect to the NATS of a bus. Its methods may be called concurrently.
type Admission struct {
	Options
	refused  zerolog.Logger // for what clients cause; limited to a few lines a second
	telling  sync.Mutex     // held while NATS is told
	mu       sync.Mutex     // guards what follows
	listed   []string
	leaving  map[string]time.Time     // until when modules that are no longer listed are let in, so that they can still answer
	warned   map[string]bool          // wrong names that connections showed, and that are logged
	crowds   map[string]int           // connections of modules, by the public key of their credentials
	strained map[identity.User]bool   // whose requests are turned down
	users    map[uint64]identity.User // of connections to the embedded server, by their IDs
	subs     []*nats.Subscription
	again    chan struct{} // tells run to send NATS the list again
	cancel   context.CancelFunc
	owned    sync.WaitGroup
}

// Open begins to let modules in. Close must be called.
func Open(o Options) (*Admission, error) {
	ctx, cancel := context.WithCancel(context.Background())
	o.Connections, o.Unread, o.Backlog = cmp.Or(o.Connections, maxConnections), cmp.Or(o.Unread, maxUnread), cmp.Or(o.Backlog, maxBacklog)
	o.Undescribed = cmp.Or(o.Undescribed, undescribed)
	a := &Admission{
		Options: o, listed: o.Listed, leaving: map[string]time.Time{}, warned: map[string]bool{}, crowds: map[string]int{},
		users: map[uint64]identity.User{}, strained: map[identity.User]bool{},
		again: make(chan struct{}, 1), cancel: cancel,
		refused: o.Log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Second}),
	}
	if !o.Broker.Guarded() {
		return a, nil
	}
	o.Broker.UserOf = a.userOf
	if err := errors.Join(enlist(o.Keys, o.Listed), a.listen()); err != nil {
		a.Close()
		return nil, err
	}
	a.owned.Go(func() { a.run(ctx) })
	a.owned.Go(func() { a.relieve(ctx) })
	a.owned.Go(func() { newBacklog(a).watch(ctx) })
	a.owned.Go(func() { (&describing{admission: a, held: map[string]*hold{}}).watch(ctx) })
	return a, nil
}

// every calls look at a pace until ctx ends.
func every(ctx context.Context, pace time.Duration, look func(now time.Time)) {
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			look(now)
		}
	}
}

// enlist records all modules at once, before their credentials are made one by one.
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

// List lets the modules on the roster in at once, and turns others away when the budget is over, so that they can
// answer what they were asked. It blocks until NATS has accepted that, for five seconds at most; after that, it is sent
// again.
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
	default: // It is about to be sent already.
	}
}

// Credentials writes the credentials of a module to a file for the processes that busd runs, and returns its path. The
// path is empty if NATS has users of its own.
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

// fileName is a name for the module's file that is short enough for any file system.
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

// run sends NATS the list of users whenever it changes.
func (a *Admission) run(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	r := rotations{admission: a, tried: map[identity.User]int{}}
	version := "" // The list that NATS got at its start may be older than the record.
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

// lets reports whether a module is let in.
func (a *Admission) lets(module string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, leaving := a.leaving[module]
	return leaving || slices.Contains(a.listed, module)
}

// left forgets the modules whose time is over, and reports whether there are any.
func (a *Admission) left() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	before, now := len(a.leaving), time.Now()
	maps.DeleteFunc(a.leaving, func(_ string, end time.Time) bool { return now.After(end) })
	return len(a.leaving) < before
}

// strain notes whether a module's requests are turned down.
func (a *Admission) strain(module string, is bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if is {
		a.strained[identity.Module(module)] = true
	} else {
		delete(a.strained, identity.Module(module))
	}
}

// owner is the module whose store or lease a stream is.
func (a *Admission) owner(stream string) (module string, ok bool) {
	server := a.Keys.Server()
	for _, module := range a.names() {
		if server.KeepsIn(module, stream) {
			return module, true
		}
	}
	return "", false
}
