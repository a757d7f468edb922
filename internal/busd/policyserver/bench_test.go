package policyserver

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/busd/policyserver/policyservertest"
)

// BenchmarkVerifyAndSign is what an event costs beside the ask itself; TwoSignatures is the part of it that is Ed25519.
func BenchmarkVerifyAndSign(b *testing.B) {
	home := policyservertest.New(remote)
	body := message("hello").Hashed().SignedBy(home, "11")
	keys := checked(remote, home.Publishes(keysFor), nil, time.Now())
	for b.Loop() {
		e, err := parse(body, "11")
		if err != nil || !e.signedBy(keys) {
			b.Fatal(err)
		}
		_ = e.sign(home.Key)
	}
}

func BenchmarkTwoSignatures(b *testing.B) {
	home, text := policyservertest.New(remote), message("hello").Hashed().SignedBy(policyservertest.New(remote), "11")
	signature := ed25519.Sign(home.Key, text)
	for b.Loop() {
		if !ed25519.Verify(home.Key.Public().(ed25519.PublicKey), text, signature) || len(ed25519.Sign(home.Key, text)) == 0 {
			b.Fatal("it is not signed")
		}
	}
}
