package policyserver

import (
	"context"
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
