package policyserver

import (
	"context"
	"crypto/ed25519"
	"errors"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
)

const (
	// maxServers is how many servers' keys are remembered, and of how many others that they could not be fetched. Beyond: the
	// one that was fetched first is fetched again.
	maxServers = 4096

	// maxFetches is how many servers' keys are fetched at once, and as many again of servers that had none when they were last
	// asked. Beyond: they wait for one another.
	maxFetches = 64

	// fetchTime is how long it may take to fetch a server's keys, also when nobody waits any more. Beyond: it has failed.
	fetchTime = 5 * time.Second

	keysFor    = time.Hour        // until keys are fetched again, unless they end before
	failureFor = 30 * time.Second // until keys are tried again that could not be fetched
	refetchFor = time.Minute      // before which keys are not fetched again because one is missing

	// maxKeys is how many keys of one server are looked at. Beyond: its keys could not be fetched.
	maxKeys = 64

	// longestValid is how far ahead a server can say that its keys are valid (specification: room version 5).
	longestValid = 7 * 24 * time.Hour
)

// serverKeys are those of one server, or why there are none.
type serverKeys struct {
	gomatrixserverlib.ServerKeyFields
	fetched time.Time
	err     error
}

// at returns the key of that ID, if it was valid then.
func (k serverKeys) at(keyID gomatrixserverlib.KeyID, ts spec.Timestamp) ed25519.PublicKey {
	key := gomatrixserverlib.ServerKeys{ServerKeyFields: k.ServerKeyFields}.PublicKey(keyID, ts)
	if len(key) != ed25519.PublicKeySize {
		return nil
	}
	return ed25519.PublicKey(key)
}

// publishes reports whether the key is one of the server's.
func (k serverKeys) publishes(key ed25519.PublicKey) bool {
	for _, v := range k.VerifyKeys {
		if key.Equal(ed25519.PublicKey(v.Key)) {
			return true
		}
	}
	return false
}

func (k serverKeys) has(keyID gomatrixserverlib.KeyID) bool {
	_, now := k.VerifyKeys[keyID]
	_, old := k.OldVerifyKeys[keyID]
	return now || old
}

// Fetcher fetches the keys of a server, as it publishes them. It may be called concurrently, and blocks until ctx ends at
// the latest.
type Fetcher interface {
	Fetch(ctx context.Context, server string) (gomatrixserverlib.ServerKeys, error)
}

// keyring remembers servers' keys. Anybody can name servers that do not answer: they are kept apart, so that they take no
// place from servers that have keys, and push none of those out.
type keyring struct {
	known, strangers *memo[string, serverKeys]
	fetcher          Fetcher
	saw              func(server string, keys serverKeys) // is told of keys that were fetched
}

func newKeyring(f Fetcher, saw func(string, serverKeys)) keyring {
	apart := func() *memo[string, serverKeys] {
		return newMemo[string, serverKeys](maxServers, maxFetches, fetchTime)
	}
	return keyring{apart(), apart(), f, saw}
}

// memoOf is where the server's keys are, or are to be.
func (r keyring) memoOf(server string) *memo[string, serverKeys] {
	if r.known.has(server) {
		return r.known
	}
	return r.strangers
}

func (r keyring) get(ctx context.Context, server string) (serverKeys, error) {
	return r.memoOf(server).get(ctx, server, r.fetch(server))
}

// begin has the server's keys fetched, unless they are remembered, and does not wait.
func (r keyring) begin(server string) {
	_, _ = r.memoOf(server).entry(server, r.fetch(server)) // Whoever waits for them gets the error.
}

func (r keyring) fetch(server string) load[serverKeys] {
	return func(ctx context.Context) (serverKeys, time.Duration) {
		keys, err := r.fetcher.Fetch(ctx, server)
		k := checked(server, keys, err, time.Now())
		if k.err != nil {
			r.strangers.set(server, k, failureFor)
			r.known.forget(server)
			return k, failureFor
		}
		r.saw(server, k)
		keep := min(keysFor, time.Until(k.ValidUntilTS.Time()))
		r.known.set(server, k, keep)
		return k, keep
	}
}

func (r keyring) close() {
	r.known.close()
	r.strangers.close()
}

// checked believes keys that are signed with themselves.
func checked(server string, keys gomatrixserverlib.ServerKeys, err error, now time.Time) serverKeys {
	if err != nil {
		return serverKeys{err: err}
	}
	if len(keys.VerifyKeys)+len(keys.OldVerifyKeys) > maxKeys {
		return serverKeys{err: errors.New("the server has too many keys")}
	}
	checks, valid := gomatrixserverlib.CheckKeys(spec.ServerName(server), now, keys)
	if !checks.AllChecksOK || len(valid) == 0 {
		return serverKeys{err: errors.New("the server's keys are not its own, or are not valid now")}
	}
	out := serverKeys{ServerKeyFields: keys.ServerKeyFields, fetched: now}
	out.ValidUntilTS = min(out.ValidUntilTS, spec.AsTimestamp(now.Add(longestValid)))
	return out
}

// of returns the server's keys, the one of that ID among them if the server has it.
func (r keyring) of(ctx context.Context, server string, keyID gomatrixserverlib.KeyID) (serverKeys, error) {
	keys, err := r.get(ctx, server)
	if err == nil && keys.err == nil && !keys.has(keyID) && time.Since(keys.fetched) > refetchFor {
		r.known.forget(server)
		keys, err = r.known.get(ctx, server, r.fetch(server))
	}
	if err != nil {
		return keys, err
	}
	return keys, keys.err
}
