package policyserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/modulebus/modulebus/internal/busd/policyserver/policyservertest"
)

// servers publish keys, but for those whose names begin with slow, which do not answer, and with none, which have no keys.
type servers struct{ fetched atomic.Int64 }

// Fetch implements [Fetcher].
func (s *servers) Fetch(ctx context.Context, server string) (keys gomatrixserverlib.ServerKeys, err error) {
	s.fetched.Add(1)
	switch {
	case strings.HasPrefix(server, "slow"):
		<-ctx.Done()
		return keys, ctx.Err()
	case strings.HasPrefix(server, "none"):
		return keys, errors.New("no such server")
	}
	return policyservertest.New(server).Publishes(24 * time.Hour), nil
}

// keysOf is a keyring that has the keys of remote, which were fetched a while ago.
func keysOf(t *testing.T, ago time.Duration) (keyring, *servers) {
	t.Helper()
	s := &servers{}
	r := newKeyring(s, func(string, serverKeys) {})
	wantKeys(t, r)
	time.Sleep(ago) //nolint:forbidigo // it is a clock of the test's
	return r, s
}

func wantKeys(t *testing.T, r keyring) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), verifyTime)
	defer cancel()
	if _, err := r.of(ctx, remote, policyservertest.New(remote).KeyID); err != nil {
		t.Errorf("keys of %s: %v", remote, err)
	}
}

func TestKeyringFetchesWhateverServersDoNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := keysOf(t, keysFor)
		defer r.close()
		for i := range 10 * maxFetches {
			r.begin(fmt.Sprintf("slow%d.example", i))
		}
		synctest.Wait()
		wantKeys(t, r)
	})
}

func TestKeyringForgetsNobodyForServersWithoutKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s := keysOf(t, 0)
		defer r.close()
		for i := range maxServers + 1 {
			if _, err := r.of(t.Context(), fmt.Sprintf("none%d.example", i), "ed25519:1"); err == nil {
				t.Fatal("a server without keys has some")
			}
		}
		before := s.fetched.Load()
		if wantKeys(t, r); s.fetched.Load() != before {
			t.Error("keys were fetched that had been fetched already")
		}
	})
}

func TestKeyringFetchesAgainWhenAKeyIsNew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, s := keysOf(t, 2*refetchFor)
		defer r.close()
		for range 2 { // Once for both.
			if keys, err := r.of(t.Context(), remote, "ed25519:new"); err != nil || keys.has("ed25519:new") {
				t.Errorf("got %+v, %v", keys, err)
			}
		}
		if n := s.fetched.Load(); n != 2 {
			t.Errorf("keys were fetched %d times", n)
		}
	})
}

func TestKeyringTakesAServerThatLostItsKeysForAStranger(t *testing.T) {
	t.Parallel()
	s := &servers{}
	r := newKeyring(s, func(string, serverKeys) {})
	defer r.close()
	r.known.set("none.example", serverKeys{fetched: time.Now()}, -1) // They hold no more.
	if _, err := r.of(t.Context(), "none.example", "ed25519:1"); err == nil || r.known.has("none.example") || !r.strangers.has("none.example") {
		t.Errorf("got %v, and it is known: %v", err, r.known.has("none.example"))
	}
}

// TestKeyringKeepsLittleOfEachServer has servers that make what is remembered of them large: by certificates that are not theirs, and by
// keys that were valid once, which need no signature.
func TestKeyringKeepsLittleOfEachServer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxKeysBody)
	shown := &tls.CertificateVerificationError{UnverifiedCertificates: []*x509.Certificate{{Raw: []byte(long)}}, Err: errors.New(long)}
	failed := checked(remote, gomatrixserverlib.ServerKeys{}, fmt.Errorf("fetching: %w", shown), time.Now()).err
	if _, ok := errors.AsType[*tls.CertificateVerificationError](failed); ok || !strings.HasPrefix(failed.Error(), "fetching: ") || len(failed.Error()) > maxReason {
		t.Errorf("what is remembered has %d bytes, and the certificates: %v", len(failed.Error()), ok)
	}
	home := policyservertest.New(remote)
	keys := home.Publishes(time.Hour)
	if err := checked(remote, keys, nil, time.Now()).err; err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(keys.ServerKeyFields)
	if err != nil {
		t.Fatal(err)
	}
	raw = []byte(strings.Replace(string(raw), `"old_verify_keys":{}`, `"old_verify_keys":{"ed25519:`+long[:maxKeysSize]+`":{"expired_ts":1,"key":"AAAA"}}`, 1))
	signed, err := gomatrixserverlib.SignJSON(home.Name, home.KeyID, home.Key, raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(signed, &keys); err != nil {
		t.Fatal(err)
	}
	if k := checked(remote, keys, nil, time.Now()); k.err == nil || k.err.Error() != "the server has too many keys" {
		t.Errorf("%d keys of a server are remembered with %d bytes: %v", len(k.OldVerifyKeys), len(signed), k.err)
	}
}
