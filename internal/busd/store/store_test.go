package store_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/store"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const serverName = "example.com"

var at = subjects.For(serverName)

// service is a busd's, and a module's connection to it.
type service struct {
	*testing.T
	*store.Service
	module *nats.Conn
	log    bytes.Buffer // complete after Close
}

func serve(t *testing.T, home *natstest.Home, durable bool) *service {
	t.Helper()
	return serveBounded(t, home, durable, 0)
}

func serveBounded(t *testing.T, home *natstest.Home, durable bool, most int64) *service {
	t.Helper()
	s := &service{T: t, module: natstest.Connect(t, home)}
	log := zerolog.New(zerolog.SyncWriter(&s.log))
	listed := func(module string) bool { return module == "listed" }
	var err error
	s.Service, err = store.Serve(store.Options{
		Conn: natstest.Connect(t, home), ServerName: serverName, Listed: listed, Durable: durable, Log: &log, MaxBytes: most,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// withJetStream starts NATS that keeps something.
func withJetStream(t *testing.T) *natstest.Home {
	t.Helper()
	return &natstest.Home{Servers: []*server.Server{natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})}}
}

func (s *service) request(module string, data []byte) *nats.Msg {
	s.Helper()
	m, err := s.module.Request(at.Store(module), data, 30*time.Second)
	if err != nil {
		s.Fatal(err)
	}
	return m
}

func (s *service) open(module string, lease bool) *rosterv1.Bucket {
	s.Helper()
	data, err := wire.Encode(&rosterv1.OpenBucket{Lease: lease}, wire.Binary)
	if err != nil {
		s.Fatal(err)
	}
	b := &rosterv1.Bucket{}
	if err := wire.DecodeMessage(s.request(module, data), b); err != nil {
		s.Fatal(err)
	}
	return b
}

func (s *service) keyValue(name string) jetstream.KeyValue {
	s.Helper()
	js, err := jetstream.New(s.module)
	if err != nil {
		s.Fatal(err)
	}
	kv, err := js.KeyValue(s.Context(), name)
	if err != nil {
		s.Fatal(err)
	}
	return kv
}

func (s *service) bucket(name string) jetstream.KeyValueStatus {
	s.Helper()
	status, err := s.keyValue(name).Status(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return status
}

// put writes to the store of the listed module, and returns the store.
func (s *service) put(key, value string) jetstream.KeyValue {
	s.Helper()
	kv := s.keyValue(s.open("listed", false).GetName())
	if _, err := kv.PutString(s.Context(), key, value); err != nil {
		s.Fatal(err)
	}
	return kv
}

func TestStoreKeepsHistoryAndLeaseExpires(t *testing.T) {
	t.Parallel()
	s := serve(t, withJetStream(t), true)
	kept, lease := s.open("listed", false), s.open("listed", true)
	if kept.GetName() != at.StoreBucket("listed") || !kept.GetDurable() || kept.GetProblem() != "" {
		t.Errorf("the store is %v", kept)
	}
	if got := s.bucket(kept.GetName()); got.History() != wire.StoreHistory || got.TTL() != 0 {
		t.Errorf("the store keeps %d values for %v", got.History(), got.TTL())
	}
	if got := s.bucket(lease.GetName()); lease.GetName() != at.LeaseBucket("listed") || got.TTL() != wire.LeaderLease {
		t.Errorf("the lease %v is kept for %v", lease, got.TTL())
	}
}

func TestStoreThatIsThereKeepsWhatIsInIt(t *testing.T) {
	t.Parallel()
	s := serve(t, withJetStream(t), true)
	kv := s.put("key", "value")
	if again := s.open("listed", false); again.GetProblem() != "" {
		t.Error(again)
	}
	if e, err := kv.Get(t.Context(), "key"); err != nil || string(e.Value()) != "value" {
		t.Errorf("the store lost what was in it: %v, %v", e, err)
	}
}

func TestStoreOfAModuleThatIsNotListedIsNotMade(t *testing.T) {
	t.Parallel()
	s := serve(t, withJetStream(t), true)
	if b := s.open("stranger", false); b.GetName() != "" || !strings.Contains(b.GetProblem(), "does not list") {
		t.Errorf("got %v", b)
	}
	js, err := jetstream.New(s.module)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.KeyValue(t.Context(), at.StoreBucket("stranger")); !errors.Is(err, jetstream.ErrBucketNotFound) {
		t.Errorf("the bucket is there: %v", err)
	}
}

func TestStoreWithoutJetStreamSaysSo(t *testing.T) {
	t.Parallel()
	s := serve(t, natstest.InProcess(t), true)
	if b := s.open("listed", false); b.GetName() != "" || b.GetProblem() != "JetStream is not enabled on this NATS" {
		t.Errorf("got %v", b)
	}
	s.Close()
	if !strings.Contains(s.log.String(), "cannot make a bucket for a module") {
		t.Errorf("the log says %s", &s.log)
	}
}

func TestStoreThatGoesWithBusdIsWarnedOfOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, withJetStream(t), false)
	s.open("listed", true) // A lease is nothing that is kept.
	for range 3 {
		if b := s.open("listed", false); b.GetDurable() {
			t.Errorf("got %v", b)
		}
	}
	s.Close()
	if n := strings.Count(s.log.String(), "set state_dir to keep it"); n != 1 {
		t.Errorf("warned %d times: %s", n, &s.log)
	}
}

func TestStoreAnswersWhatItCannotReadWithAFailure(t *testing.T) {
	t.Parallel()
	s := serve(t, withJetStream(t), true)
	if f := wire.FailureOf(s.request("listed", []byte("\xff"))); f == nil || f.Kind != rosterv1.FailureKind_MALFORMED {
		t.Errorf("got %v", f)
	}
}

// TestListTakesWhatTheServerSaysOfAValue has a module that writes values with the headers in which NATS says what they are.
func TestListTakesWhatTheServerSaysOfAValue(t *testing.T) {
	t.Parallel()
	s := serve(t, withJetStream(t), true)
	subject := "$KV." + s.open("listed", false).GetName() + "."
	for key, headers := range map[string]nats.Header{
		"a": {jetstream.SubjectHeader: {"a"}, jetstream.SequenceHeader: {"0"}, jetstream.TimeStampHeaer: {"now"}},
		"b": {"Status": {"500"}},
		"c": {},
	} {
		if _, err := s.module.RequestMsg(&nats.Msg{Subject: subject + key, Header: headers, Data: []byte(key)}, 30*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	data, err := wire.Encode(&rosterv1.OpenBucket{List: true}, wire.Binary)
	if err != nil {
		t.Fatal(err)
	}
	m, page := s.request("listed", data), &rosterv1.BucketPage{}
	if err := wire.DecodeMessage(m, page); err != nil || len(page.GetValues()) != 3 {
		t.Fatalf("%v: %v, %v", m.Header, page, err)
	}
	for i, v := range page.GetValues() {
		_, err := time.Parse(time.RFC3339Nano, v.GetCreated())
		if v.GetKey() != string(v.GetValue()) || v.GetRevision() != uint64(i)+1 || err != nil {
			t.Errorf("%v, %v", v, err)
		}
	}
}
