package policyserver

import (
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
)

const (
	// maxServers is how many servers' keys are remembered, and how many servers whose keys could not be fetched. Beyond:
	// the oldest is forgotten, and fetched again when it is needed.
	maxServers = 4096

	// maxFetches is how many servers' keys are fetched at once, and as many again of servers whose last fetch failed.
	// Beyond: they wait for one another.
	maxFetches = 64

	// fetchTime is how long fetching a server's keys may take, even if no request waits for it any more. Beyond: it has
	// failed.
	fetchTime = 5 * time.Second

	keysFor    = time.Hour        // until keys are fetched again, unless they expire before
	failureFor = 30 * time.Second // until keys are tried again that could not be fetched
	refetchFor = time.Minute      // the least time between fetches because a key is missing

	// maxKeys is how many keys one server may have. Beyond: fetching them has failed.
	maxKeys = 64

	// maxKeysSize is the size of one server's keys in bytes, as it writes them. Beyond: fetching them has failed.
	maxKeysSize = 16 << 10

	// maxReason is the size in bytes of the text that says why a server's keys could not be fetched. Beyond: it is cut.
	maxReason = 512

	// longestValid is how far ahead a server can say that its keys are valid (specification: room version 5).
	longestValid = 7 * 24 * time.Hour
)

// serverKeys are those of one server, or why there are none.
type serverKeys struct {
	gomatrixserverlib.ServerKeyFields
	fetched time.Time
	err     error
}

// at returns the key with an ID if it was valid at a time; otherwise nil.
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

// Fetcher fetches the keys that a server publishes. It may be called concurrently, and blocks at most until ctx ends.
type Fetcher interface {
	Fetch(ctx context.Context, server string) (gomatrixserverlib.ServerKeys, error)
}

// keyring remembers servers' keys. Servers that do not answer, which any request can name, are kept apart, so that they
// take no place from servers with keys.
type keyring struct {
	known, strangers *memo[string, serverKeys]
	fetcher          Fetcher
	saw              func(server string, keys serverKeys) // is called with fetched keys
}

func newKeyring(f Fetcher, saw func(string, serverKeys)) keyring {
	apart := func() *memo[string, serverKeys] {
		return newMemo[string, serverKeys](maxServers, maxFetches, fetchTime)
	}
	return keyring{apart(), apart(), f, saw}
}

// memoOf returns the memo for the server's keys.
func (r keyring) memoOf(server string) *memo[string, serverKeys] {
	if r.known.has(server) {
		return r.known
	}
	return r.strangers
}

func (r keyring) get(ctx context.Context, server string) (serverKeys, error) {
	return r.memoOf(server).get(ctx, server, r.fetch(server))
}

// begin begins to fetch the server's keys, unless they are remembered, and does not wait.
func (r keyring) begin(server string) {
	r.memoOf(server).begin(server, r.fetch(server))
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

// checked returns the keys with which the answer itself is signed.
func checked(server string, keys gomatrixserverlib.ServerKeys, err error, now time.Time) serverKeys {
	if err != nil {
		return serverKeys{err: reason(err)}
	}
	if len(keys.VerifyKeys)+len(keys.OldVerifyKeys) > maxKeys || len(keys.Raw) > maxKeysSize {
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

// reason returns the beginning of an error's text. The error itself may hold the certificates that the server showed, and is
// remembered for thousands of servers.
func reason(err error) error {
	text := err.Error()
	return errors.New(strings.ToValidUTF8(text[:min(len(text), maxReason)], ""))
}

// of returns the server's keys. If the key with the ID is missing, it fetches them again.
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
