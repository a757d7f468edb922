package admission_test

import (
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/busd/admission"
	"github.com/modulebus/modulebus/internal/busd/broker"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/subjects"
)

// deaf is a connection that takes nothing any more once it is told so, until the test ends.
type deaf struct {
	net.Conn
	told, over <-chan struct{}
}

func (d deaf) Read(b []byte) (int, error) {
	select {
	case <-d.told:
		<-d.over
		return 0, net.ErrClosed
	default:
		return d.Conn.Read(b)
	}
}

// Dial implements nats.CustomDialer.
func (d deaf) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	return deaf{conn, d.told, d.over}, err
}

func TestClientsThatDoNotTakeWhatTheyAreSentAreBoundedTogether(t *testing.T) {
	t.Parallel()
	s := open(t, homes["embedded"])
	told, over := make(chan struct{}), make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(over) }))
	inbox := subjects.For("example.com").Inbox("gate", "w")
	for range 4 {
		nc := s.connect(s.file("gate"), nats.NoReconnect(), nats.SetCustomDialer(deaf{told: told, over: over}), nats.CustomInboxPrefix(inbox))
		if _, err := nc.SubscribeSync(inbox + ".x"); err != nil {
			t.Fatal(err)
		}
		must(t, nc.Flush())
	}
	other := s.connect(s.file("other"), nats.NoReconnect())
	close(told)
	s.eventually("those that take nothing are disconnected", func() bool {
		must(t, s.broker.Conn.Publish(inbox+".x", make([]byte, 1<<20-1024)))
		must(t, s.broker.Conn.Flush())
		return s.log.Count("does not take what it is sent") >= 4
	})
	s.eventually("NATS holds nothing for them", func() bool { return len(s.broker.Unread(0)) == 0 })
	must(t, other.Flush())
	if n := s.log.Count("Slow Consumer"); n > 0 {
		t.Errorf("NATS gave up on %d of them itself, after ten seconds: busd did not disconnect them", n)
	}
}

func TestClientsThatTakeWhatTheyAreSentStayConnected(t *testing.T) {
	t.Parallel()
	const most, large, small = 100, 60, 1
	gate := identity.Module("gate")
	all := []broker.Unread{
		{ID: 1, User: gate, Bytes: large},
		{ID: 2, User: gate, Bytes: large},
		{ID: 3, User: gate, Bytes: small},
		{ID: 4, User: gate, Bytes: small},
		{ID: 5, User: identity.Module("other"), Bytes: most},
		{ID: 6, User: identity.Busd, Bytes: 2 * most},
	}
	if got := admission.Excess(all, most); len(got) != 2 || got[0].ID != 1 || got[1].ID != 2 {
		t.Errorf("disconnected %v", got)
	}
}

func TestLessThanHalfIsLeftOfWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all, held := []broker.Unread{}, 0
		for i, bytes := range rapid.SliceOfN(rapid.IntRange(1, 1000), 1, 20).Draw(t, "bytes") {
			all, held = append(all, broker.Unread{ID: uint64(i), User: identity.Homeserver, Bytes: bytes}), held+bytes
		}
		left := held
		for _, c := range admission.Excess(all, held-1) {
			left -= c.Bytes
		}
		if 2*left >= held {
			t.Errorf("of %d bytes %d are left", held, left)
		}
		if cut := admission.Excess(all, held); len(cut) > 0 {
			t.Errorf("disconnected %v for what is not too much", cut)
		}
	})
}

// TestRequestsForValuesThatAreNotTakenAreTurnedDown has connections that read nothing request a large value of their module's store without an end.
func TestRequestsForValuesThatAreNotTakenAreTurnedDown(t *testing.T) { //nolint:paralleltest // It fills memory, and looks at it.
	s := open(t, homes["embedded"])
	value := s.stores("gate", make([]byte, 1<<20-1024))
	others := s.stores("other", []byte("small"))
	over := make(chan struct{})
	end := sync.OnceFunc(func() { close(over) })
	t.Cleanup(end)
	inbox := subjects.For("example.com").Inbox("gate", "w")
	gate := s.connect(s.file("gate"), nats.CustomInboxPrefix(inbox))
	other := s.connect(s.file("other"), nats.CustomInboxPrefix(subjects.For("example.com").Inbox("other", "w")))
	file, flood := s.file("gate"), make([]*nats.Conn, 4)
	s.eventually("requests are turned down", func() bool {
		for i, nc := range flood {
			if nc == nil || nc.LastError() != nil { // It was ended, and comes again.
				nc = s.deaf(file, inbox, over)
				flood[i] = nc
			}
			for range 100 {
				_ = nc.PublishRequest(value, inbox+".x", nil) // It fails when the connection was ended.
			}
		}
		_, err := gate.Request(value, nil, waittest.Patience)
		return errors.Is(err, nats.ErrNoResponders)
	})
	s.eventually("the log says whose", func() bool {
		return s.log.Count("faster than it takes them") > 0
	})
	if _, err := other.Request(others, nil, waittest.Patience); err != nil {
		t.Errorf("another module gets its value: %v", err)
	}
	must(t, s.broker.Admit(t.Context(), []string{"gate", "other"})) // It ends mappings.
	end()
	s.eventually("requests are answered again", func() bool {
		_, err := gate.Request(value, nil, waittest.Patience)
		return err == nil
	})
}

// TestModuleThatTakesWhatItRequestsIsNotTurnedDown has a module request a mebibyte at a time, and take it, where it may leave two unread.
func TestModuleThatTakesWhatItRequestsIsNotTurnedDown(t *testing.T) { //nolint:paralleltest // It fills memory.
	s := open(t, homes["embedded"])
	value := s.stores("gate", make([]byte, 32<<10))
	gate := s.connect(s.file("gate"), nats.CustomInboxPrefix(subjects.For("example.com").Inbox("gate", "w")))
	var clients sync.WaitGroup
	for range 32 {
		clients.Go(func() {
			for range 1000 {
				if _, err := gate.Request(value, nil, waittest.Patience); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	clients.Wait()
}

// deaf connects as a module that has subscribed its inbox, and then takes nothing until over is closed.
func (s *stage) deaf(file, inbox string, over <-chan struct{}) *nats.Conn {
	s.t.Helper()
	told := make(chan struct{})
	nc := s.connect(file, nats.NoReconnect(), nats.Timeout(waittest.Patience), nats.SetCustomDialer(deaf{told: told, over: over}), nats.CustomInboxPrefix(inbox),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	_, err := nc.SubscribeSync(inbox + ".x")
	must(s.t, err)
	must(s.t, nc.FlushTimeout(waittest.Patience))
	close(told)
	return nc
}

// stores makes the bucket of a module's store with a value, and returns where that is requested.
func (s *stage) stores(module string, value []byte) (subject string) {
	s.t.Helper()
	js, err := jetstream.New(s.broker.Conn)
	must(s.t, err)
	bucket := subjects.For("example.com").StoreBucket(module)
	kv, err := js.CreateKeyValue(s.t.Context(), jetstream.KeyValueConfig{Bucket: bucket})
	must(s.t, err)
	_, err = kv.Put(s.t.Context(), "k", value)
	must(s.t, err)
	return "$JS.API.DIRECT.GET.KV_" + bucket + ".$KV." + bucket + ".k"
}
