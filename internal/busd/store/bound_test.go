package store_test

import (
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/internal/waittest"
)

// TestStoreIsBoundedAndReservesNothingBefore fills one store of two.
func TestStoreIsBoundedAndReservesNothingBefore(t *testing.T) {
	t.Parallel()
	const most, value = 4 << 20, 64 << 10
	s := serveBounded(t, withJetStream(t), true, most)
	s.open("listed", true)
	kv := s.put("key", "value")
	n, refused := 0, error(nil)
	waittest.Until(t, "the store is full", func() bool {
		n++
		_, refused = kv.Put(t.Context(), strconv.Itoa(n), make([]byte, value))
		return refused != nil
	})
	waittest.Until(t, "the metric says so", func() bool { return gaugesOf(t, s.Service)["modulebus_stores_full"] == 1 })
	if c := s.stream(at.LeaseBucket("listed")); c.MaxBytes >= 0 {
		t.Errorf("%d bytes are reserved for a bucket that is empty", c.MaxBytes)
	}
	for i := range n {
		if err := kv.Purge(t.Context(), strconv.Itoa(i)); err != nil {
			t.Fatalf("nothing can be deleted from a full store: %v", err)
		}
	}
	waittest.Until(t, "it takes values again", func() bool { _, err := kv.Put(t.Context(), "key", make([]byte, value)); return err == nil })
	waittest.Until(t, "nothing is reserved any more", func() bool { return s.stream(kv.Bucket()).MaxBytes < 0 })
	if got := gaugesOf(t, s.Service)["modulebus_stores_full"]; got != 0 {
		t.Errorf("%v stores are full", got)
	}
}

// stream is the configuration of a bucket's stream.
func (s *service) stream(bucket string) jetstream.StreamConfig {
	s.Helper()
	js, err := jetstream.New(s.module)
	if err != nil {
		s.Fatal(err)
	}
	stream, err := js.Stream(s.Context(), "KV_"+bucket)
	if err != nil {
		s.Fatal(err)
	}
	return stream.CachedInfo().Config
}
