package admission_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/subjects"
)

// TestRequestsThatDescribeAStoreKeepNobodyOut has connections of a module request, without an end, that JetStream name all keys of its store.
func TestRequestsThatDescribeAStoreKeepNobodyOut(t *testing.T) { //nolint:paralleltest // It keeps all processors busy.
	s := open(t, homes["embedded"])
	s.stores("gate", []byte("v"))
	s.stores("other", []byte("v"))
	server := subjects.For("example.com")
	bucket, inbox := server.StoreBucket("gate"), server.Inbox("gate", "w")
	s.fill(bucket, 20_000)
	described, names := subjects.Description("KV_"+bucket), []byte(`{"subjects_filter":">"}`)
	over, flood := make(chan struct{}), sync.WaitGroup{}
	end := sync.OnceFunc(func() { close(over); flood.Wait() })
	t.Cleanup(end)
	for range 4 {
		nc := s.connect(s.file("gate"), nats.CustomInboxPrefix(inbox))
		flood.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				for range 100 {
					_ = nc.PublishRequest(described, inbox+".x", names) // It fails when the test ends.
				}
				_ = nc.Flush()
			}
		})
	}
	s.eventually("the log says whose requests are turned down", func() bool { return s.log.Has(`"for":"1s","message":"a module has its store described`) })
	other := s.connect(s.file("other"), nats.CustomInboxPrefix(server.Inbox("other", "w")))
	js, err := jetstream.New(s.broker.Conn)
	must(t, err)
	s.eventually("another's store is described, and busd learns what is stored", func() bool {
		_, others := other.Request(subjects.Description("KV_"+server.StoreBucket("other")), nil, waittest.Patience/8)
		_, err := js.AccountInfo(t.Context())
		return errors.Join(others, err) == nil
	})
	end()
	gate := s.connect(s.file("gate"), nats.CustomInboxPrefix(inbox))
	s.eventually("its store is described again", func() bool {
		_, err := gate.Request(described, nil, waittest.Patience/8)
		return err == nil
	})
}

// TestModulesThatOpenTheirStoresAtOnceAreNotToBlame has a hundred that start, and then one of them that does not stop.
func TestModulesThatOpenTheirStoresAtOnceAreNotToBlame(t *testing.T) {
	t.Parallel()
	s := open(t, homes["embedded"])
	told := map[string]int{}
	for i := range 100 {
		told[fmt.Sprintf("KV_store-of-one-%d", i)] = 5
	}
	gate := "KV_" + subjects.For("example.com").StoreBucket("gate")
	for times, want := range map[int]string{6: "", 50: "gate"} {
		if told[gate] = times; s.Blamed(told) != want {
			t.Errorf("described %d times: %q is to blame", times, s.Blamed(told))
		}
	}
}

// fill writes so many keys to a bucket.
func (s *stage) fill(bucket string, keys int) {
	s.t.Helper()
	js, err := jetstream.New(s.broker.Conn, jetstream.WithPublishAsyncMaxPending(1000))
	must(s.t, err)
	for i := range keys {
		_, err := js.PublishAsync(fmt.Sprintf("$KV.%s.key-%d", bucket, i), []byte("v"), jetstream.WithStallWait(waittest.Patience))
		must(s.t, err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-s.t.Context().Done():
	}
}
