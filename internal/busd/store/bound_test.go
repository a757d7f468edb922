package store_test

import (
	"strconv"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/internal/busd/store"
	"github.com/modulebus/modulebus/internal/waittest"
)

const most, value = 4 << 20, 64 << 10

// fill puts values into a store until it takes no more, and returns how many.
func (s *service) fill(kv jetstream.KeyValue) (n int) {
	s.Helper()
	waittest.Until(s, "the store is full", func() bool {
		n++
		_, err := kv.Put(s.Context(), strconv.Itoa(n), make([]byte, value))
		return err != nil
	})
	s.wantFull(1)
	return n
}

// wantFull waits until the metric says that so many stores are full.
func (s *service) wantFull(stores float64) {
	s.Helper()
	waittest.Until(s, "the metric says how many stores are full", func() bool {
		return gaugesOf(s.T, s.Service)["modulebus_stores_full"] == stores
	})
}

// TestStoreIsBoundedAndReservesNothingBefore fills one store of two.
func TestStoreIsBoundedAndReservesNothingBefore(t *testing.T) {
	t.Parallel()
	s := serveBounded(t, withJetStream(t), true, most)
	s.open("listed", true)
	kv := s.put("key", "value")
	n := s.fill(kv)
	if c := s.stream(at.LeaseBucket("listed")); c.MaxBytes >= 0 {
		t.Errorf("%d bytes are reserved for a bucket that is empty", c.MaxBytes)
	}
	waittest.Until(t, "a deletion is taken", func() bool { return kv.Purge(t.Context(), "key") == nil })
	for i := range n {
		if err := kv.Purge(t.Context(), strconv.Itoa(i)); err != nil {
			t.Fatalf("nothing can be deleted from a full store: %v", err)
		}
	}
	waittest.Until(t, "it takes values again", func() bool { _, err := kv.Put(t.Context(), "key", make([]byte, value)); return err == nil })
	waittest.Until(t, "nothing is reserved any more", func() bool { return s.stream(kv.Bucket()).MaxBytes < 0 })
	s.wantFull(0)
}

func TestFullStoreThatIsRemovedIsNotCounted(t *testing.T) {
	t.Parallel()
	s := serveBounded(t, withJetStream(t), true, most)
	kv := s.put("key", "value")
	s.fill(kv)
	js, err := jetstream.New(s.module)
	if err == nil {
		err = js.DeleteKeyValue(t.Context(), kv.Bucket())
	}
	if err != nil {
		t.Fatal(err)
	}
	s.wantFull(0)
}

func TestStoreThatIsWrittenToWhileItGetsItsLimitTakesDeletions(t *testing.T) {
	t.Parallel()
	c := jetstream.StreamConfig{MaxBytes: -1, MaxMsgSize: -1}
	store.Limit(&c, most, most)
	size := c.MaxBytes + value
	store.Limit(&c, size, most)
	if c.MaxBytes <= size {
		t.Errorf("a store of %d bytes may have %d", size, c.MaxBytes)
	}
}

func TestFullStoreTakesDeletionsAlthoughSmallValuesUseUpItsRoom(t *testing.T) {
	t.Parallel()
	const mostLooks = 1000
	c := jetstream.StreamConfig{MaxBytes: -1, MaxMsgSize: -1}
	size, looks := int64(most), 0
	for store.Limit(&c, size, most); c.MaxBytes > size && looks < mostLooks; store.Limit(&c, size, most) {
		size = c.MaxBytes
		looks++
	}
	if looks < 2 || looks == mostLooks || size > most*3/2 {
		t.Errorf("a store of %d bytes has %d after %d looks", most, size, looks)
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
