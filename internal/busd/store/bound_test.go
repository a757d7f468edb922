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

// TestStoreFarAboveALoweredLimitTakesDeletions has a deletion use up what there was room for, again and again.
func TestStoreFarAboveALoweredLimitTakesDeletions(t *testing.T) {
	t.Parallel()
	const large, looks = 100 * most, 5
	c := jetstream.StreamConfig{MaxBytes: -1, MaxMsgSize: -1, Metadata: map[string]string{"made": "by somebody"}}
	size := int64(large)
	for range looks {
		store.Limit(&c, size, most)
		if c.MaxBytes <= size {
			t.Fatalf("a store of %d bytes, which had %d, takes no deletion", size, int64(large))
		}
		size = c.MaxBytes
	}
	if c.MaxBytes > large+most/2 || c.Metadata["made"] == "" {
		t.Errorf("a store that had %d bytes may have %+v", int64(large), c)
	}
}

// TestStoreThatAnEarlierVersionLeftWithoutRoomTakesDeletions has one that is full, and whose metadata does not say since when.
func TestStoreThatAnEarlierVersionLeftWithoutRoomTakesDeletions(t *testing.T) {
	t.Parallel()
	const large, looks = 100 * most, 50
	c := jetstream.StreamConfig{MaxBytes: -1, MaxMsgSize: -1}
	store.Limit(&c, large, most)
	c.Metadata = nil
	size := c.MaxBytes
	if store.Limit(&c, size, most); c.MaxBytes <= size {
		t.Errorf("a store of %d bytes may have %d", size, c.MaxBytes)
	}
	for range looks {
		size = c.MaxBytes
		store.Limit(&c, size, most)
	}
	if c.MaxBytes > large+most {
		t.Errorf("a store that had %d bytes may have %d", int64(large), c.MaxBytes)
	}
}

// TestStoreIsOpenedWithALimitThatIsFarBelowIt lowers nats.max_store.
func TestStoreIsOpenedWithALimitThatIsFarBelowIt(t *testing.T) {
	t.Parallel()
	nc := withJetStream(t)
	s := serveBounded(t, nc, true, 8*most)
	kv := s.put("key", "value")
	const values = 2 * most / value
	for n := range values {
		if _, err := kv.Put(t.Context(), strconv.Itoa(n), make([]byte, value)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = serveBounded(t, nc, true, most/4)
	s.wantFull(1)
	if got, err := kv.Get(t.Context(), "0"); err != nil || len(got.Value()) != value {
		t.Errorf("what is stored is gone: %v", err)
	}
	if _, err := kv.Put(t.Context(), "more", make([]byte, value)); err == nil {
		t.Error("a full store takes a value")
	}
	for n := range values {
		if err := kv.Purge(t.Context(), strconv.Itoa(n)); err != nil {
			t.Fatalf("nothing can be deleted: %v", err)
		}
	}
	s.wantFull(0)
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
