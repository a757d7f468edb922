package policyserver

import (
	"crypto/ed25519"
	"testing"
	"time"
)

// BenchmarkVerifyAndSign is what an event costs beside the ask itself; TwoSignatures is the part of it that is Ed25519.
func BenchmarkVerifyAndSign(b *testing.B) {
	home := newHomeserver(remote)
	body := message("hello").hashed().signedBy(home, "11")
	keys := checked(remote, home.publishes(keysFor), nil, time.Now())
	for b.Loop() {
		e, err := parse(body, "11")
		if err != nil || !e.signedBy(keys) {
			b.Fatal(err)
		}
		if _, err := e.sign(own, home.key); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTwoSignatures(b *testing.B) {
	home, text := newHomeserver(remote), message("hello").hashed().signedBy(newHomeserver(remote), "11")
	signature := ed25519.Sign(home.key, text)
	for b.Loop() {
		if !ed25519.Verify(home.key.Public().(ed25519.PublicKey), text, signature) || len(ed25519.Sign(home.key, text)) == 0 {
			b.Fatal("it is not signed")
		}
	}
}
