package store_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/internal/waittest"
)

// leastIDTime is the least that JetStream takes.
const leastIDTime = 100 * time.Millisecond

// TestIDsOfStoredMessagesFillNoMemory has a module send IDs, which JetStream keeps in memory: how long is all that bounds them.
func TestIDsOfStoredMessagesFillNoMemory(t *testing.T) {
	t.Parallel()
	s := serve(t, withJetStream(t), true)
	for _, lease := range []bool{false, true} {
		bucket := s.open("listed", lease).GetName()
		if got := s.stream(bucket).Duplicates; got != leastIDTime {
			t.Errorf("%s: IDs are kept for %v", bucket, got)
		}
		m := &nats.Msg{Subject: "$KV." + bucket + ".k", Header: nats.Header{jetstream.MsgIDHeader: {"one"}}}
		for range 2 {
			waittest.Until(t, "an ID counts no more, and the message is stored", func() bool {
				js, err := jetstream.New(s.module)
				if err != nil {
					t.Fatal(err)
				}
				ack, err := js.PublishMsg(t.Context(), m)
				return err == nil && !ack.Duplicate
			})
		}
	}
}

// TestIDsAreForgottenInStoresOfAnEarlierVersion has a store whose IDs are kept for two minutes, and that no worker opens.
func TestIDsAreForgottenInStoresOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	home := withJetStream(t)
	s := serve(t, home, true)
	js, err := jetstream.New(s.module)
	if err != nil {
		t.Fatal(err)
	}
	bucket := at.StoreBucket("earlier")
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	serve(t, home, true) // It looks at all stores when it starts.
	waittest.Until(t, "IDs are kept for a short time", func() bool { return s.stream(bucket).Duplicates == leastIDTime })
}
