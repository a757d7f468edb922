package modulekit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// storeOn opens the store of a module.
func storeOn(t *testing.T, nc *nats.Conn, module string) *Store {
	t.Helper()
	s, err := moduleOn(nc, module).KeyValue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// moduleOn is a module that knows where it runs, and no more.
func moduleOn(nc *nats.Conn, module string) *ModuleAPI {
	o := Options{ServerName: serverName, Module: module}.withDefaults()
	return newAPI(o, newHost(nc, o, nil))
}

func TestStoreAndLeaseAreAsBusdMakesThem(t *testing.T) {
	t.Parallel()
	if StoreHistory != wire.StoreHistory || LeaderLease != wire.LeaderLease {
		t.Errorf("the documentation says %d values and %v, busd makes %d and %v", StoreHistory, LeaderLease, wire.StoreHistory, wire.LeaderLease)
	}
}

func TestWorkersShareAStoreAndModulesDoNot(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "a.b"}, config.Module{Name: "a_b"})
	one, other := storeOn(t, natstest.Connect(t, b.home), "a.b"), storeOn(t, natstest.Connect(t, b.home), "a.b")
	stranger := storeOn(t, natstest.Connect(t, b.home), "a_b")
	revision, err := one.Create(t.Context(), "k", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := other.Get(t.Context(), "k"); err != nil || string(e.Value) != "1" || e.Revision != revision || e.Created.IsZero() {
		t.Errorf("the other worker got %v, %v", e, err)
	}
	_, err = stranger.Get(t.Context(), "k")
	wantErr(t, err, ErrKeyNotFound)
	if _, err := other.Update(t.Context(), "k", []byte("2"), revision); err != nil {
		t.Error(err)
	}
	_, err = one.Update(t.Context(), "k", []byte("3"), revision)
	wantErr(t, err, ErrConflict)
}

func TestStore(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "m"})
	s, ctx := storeOn(t, natstest.Connect(t, b.home), "m"), t.Context()
	put := func(key, value string) uint64 {
		revision, err := s.Put(ctx, key, []byte(value))
		if err != nil {
			t.Fatal(err)
		}
		return revision
	}
	for i := range StoreHistory + 2 {
		put("a.b", strconv.Itoa(i))
	}
	_, err := s.Create(ctx, "a.b", nil)
	wantErr(t, err, ErrConflict)
	if err := s.Delete(ctx, "a.b"); err != nil {
		t.Error(err)
	}
	_, err = s.Get(ctx, "a.b")
	wantErr(t, err, ErrKeyNotFound)
	if _, err := s.Create(ctx, "a.b", []byte("again")); err != nil { // A key that was deleted is not there.
		t.Error(err)
	}
	all, err := s.History(ctx, "a.b")
	if err != nil || len(all) != StoreHistory || !all[StoreHistory-2].Deleted || string(all[StoreHistory-1].Value) != "again" {
		t.Errorf("got %v, %v", all, err)
	}
	last := put("gone", "x")
	wantErr(t, s.DeleteRevision(ctx, "gone", last-1), ErrConflict)
	if err := s.DeleteRevision(ctx, "gone", last); err != nil {
		t.Error(err)
	}
	want := []string{"a.b"}
	for i := range listed + 5 { // More than one request lists.
		key := fmt.Sprintf("key-%04d", i)
		put(key, "x")
		want = append(want, key)
	}
	if keys, err := s.Keys(ctx); err != nil || !slices.Equal(keys, want) {
		t.Errorf("got %d keys, %v, want %d", len(keys), err, len(want))
	}
	for _, key := range []string{"", ".a", "a.", "a..b", "a b", "*", "a.>", "ä"} {
		if _, err := s.Put(ctx, key, nil); err == nil || !strings.Contains(err.Error(), "a key has letters") {
			t.Errorf("%q: got %v", key, err)
		}
		if _, err := s.Get(ctx, key); err == nil {
			t.Errorf("%q was read", key)
		}
		if _, err := s.History(ctx, key); err == nil {
			t.Errorf("%q has a history", key)
		}
	}
}

func TestStoreNeedsJetStream(t *testing.T) {
	t.Parallel()
	home := natstest.TCP(t)
	nc := natstest.Connect(t, home)
	_, err := moduleOn(nc, "m").KeyValue(t.Context())
	wantErr(t, err, ErrNoStore) // Nobody makes one.
	busdOn(t, home, config.Module{Name: "m"})
	_, err = moduleOn(nc, "m").KeyValue(t.Context())
	wantErr(t, err, ErrNoStore)
	if err == nil || !strings.Contains(err.Error(), "JetStream is not enabled") {
		t.Errorf("got %v", err)
	}
	_, err = moduleOn(nc, "unlisted").KeyValue(t.Context())
	if err == nil || !strings.Contains(err.Error(), "does not list this module") {
		t.Errorf("got %v", err)
	}
}

// modulesUser is a NATS whose user "m" may do what a module of that name may, and no more.
func modulesUser(t *testing.T) *natstest.Home {
	t.Helper()
	return homeOf(t, subjects.For(serverName).ModulePermissions("m"))
}

// homeOf is a NATS where a user m may do so much.
func homeOf(t *testing.T, p subjects.Permissions) *natstest.Home {
	t.Helper()
	users := []*server.User{
		{Username: "busd", Password: "p"},
		{Username: "m", Password: "p", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: p.Publish}, Subscribe: &server.SubjectPermission{Allow: p.Subscribe},
			Response: &server.ResponsePermission{MaxMsgs: 1},
		}},
	}
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), Users: users, NoAuthUser: "busd"})
	return &natstest.Home{Servers: []*server.Server{s}}
}

// TestStoreListsWhatIsLargerThanNATSSendsAtOnce has more in it than the server holds for one connection.
func TestStoreListsWhatIsLargerThanNATSSendsAtOnce(t *testing.T) {
	t.Parallel()
	const keys = 70
	b := startBusd(t, config.Module{Name: "m"})
	s, value := storeOn(t, natstest.Connect(t, b.home), "m"), make([]byte, 1<<20-1024)
	for i := range keys {
		if _, err := s.Put(t.Context(), strconv.Itoa(i), value); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := s.Keys(t.Context()); err != nil || len(all) != keys {
		t.Errorf("of %d keys it lists %d, %v", keys, len(all), err)
	}
}

// TestStoreIsListedWholeOnManyPages has keys that were written again after others, that were deleted, and whose values are left out.
func TestStoreIsListedWholeOnManyPages(t *testing.T) {
	t.Parallel()
	const keys, each = 9000, 1000
	b := startBusd(t, config.Module{Name: "m"})
	nc := natstest.Connect(t, b.home)
	s, want, ctx := storeOn(t, nc, "m"), map[string]string{}, t.Context()
	write := func(key string, value []byte) {
		if err := nc.Publish("$KV."+subjects.For(serverName).StoreBucket("m")+"."+key, value); err != nil {
			t.Fatal(err)
		}
		want[key] = string(value)
	}
	for i := range keys {
		write(fmt.Sprintf("key-%04d", i), []byte("first"))
		if i%each == 0 {
			write("large-"+strconv.Itoa(i), make([]byte, 1<<20-1024))
		}
	}
	for i := 0; i < keys; i += each {
		write(fmt.Sprintf("key-%04d", i), []byte("second"))
	}
	for _, key := range []string{"key-0001", "large-0"} {
		if err := s.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
		want[key] = "deleted"
	}
	all, err := s.bucket.Last(ctx)
	if err != nil || len(all) != len(want) {
		t.Fatalf("of %d keys it lists %d, %v", len(want), len(all), err)
	}
	for _, e := range all {
		text := string(e.Value)
		if e.Deleted {
			text = "deleted"
		}
		if text != want[e.Key] || e.Revision == 0 || e.Created.IsZero() {
			t.Errorf("%s is %.20q, revision %d of %v; want %.20q", e.Key, text, e.Revision, e.Created, want[e.Key])
		}
	}
}

// TestPageMayTakeLongerThanBusdTakesToAnswer has a busd that reads a page for longer than anything else that it is asked.
func TestPageMayTakeLongerThanBusdTakesToAnswer(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "m"})
	s := storeOn(t, natstest.Connect(t, b.home), "m")
	b.store.Close()
	slow := natstest.Connect(t, b.home)
	page, err := proto.Marshal(&rosterv1.BucketPage{Listed: true})
	if err == nil {
		_, err = slow.Subscribe(subjects.For(serverName).StoreAny(), func(m *nats.Msg) {
			time.AfterFunc(busdTimeout+busdTimeout/8, func() { _ = m.Respond(page) })
		})
	}
	if err == nil {
		err = slow.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := s.Keys(t.Context()); err != nil || len(keys) > 0 {
		t.Errorf("the list is %v, %v", keys, err)
	}
}

// TestListEndsAtABusdThatHasNone has one of an earlier version, which opens the bucket again instead: that is no empty list.
func TestListEndsAtABusdThatHasNone(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "m"})
	s := storeOn(t, natstest.Connect(t, b.home), "m")
	b.store.Close()
	earlier := natstest.Connect(t, b.home)
	data, err := proto.Marshal(&rosterv1.Bucket{Name: subjects.For(serverName).StoreBucket("m")})
	if err == nil {
		_, err = earlier.Subscribe(subjects.For(serverName).StoreAny(), func(m *nats.Msg) { _ = m.Respond(data) })
	}
	if err == nil {
		err = earlier.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := s.Keys(t.Context()); !errors.Is(err, errOlderBusd) {
		t.Errorf("the list is %d keys, %v", len(keys), err)
	}
}

// TestStoreNeedsNoDescriptionOfItsStream has a worker that JetStream never describes its streams to: a module may fill the queue of those
// requests, which is everybody's.
func TestStoreNeedsNoDescriptionOfItsStream(t *testing.T) {
	t.Parallel()
	p := subjects.For(serverName).ModulePermissions("m")
	p.Publish = slices.DeleteFunc(p.Publish, func(subject string) bool { return strings.HasPrefix(subject, "$JS.API.STREAM.INFO.") })
	b := busdOn(t, homeOf(t, p), config.Module{Name: "m"})
	nc := natstest.Connect(t, b.home, nats.UserInfo("m", "p"), nats.CustomInboxPrefix(subjects.For(serverName).Inbox("m", "w")))
	s, ctx := storeOn(t, nc, "m"), t.Context()
	next, stop := watching(t, s)
	defer stop()
	if _, err := s.Create(ctx, "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if got := <-next; got != "k=v" {
		t.Errorf("watched %q", got)
	}
	if e, err := s.Get(ctx, "k"); err != nil || string(e.Value) != "v" {
		t.Errorf("got %v, %v", e, err)
	}
	if keys, err := s.Keys(ctx); err != nil || len(keys) != 1 {
		t.Errorf("listed %v, %v", keys, err)
	}
	c := newCandidate("w", LeaderLease, newBucket(nc, subjects.For(serverName), "m", true))
	if err := c.stand(ctx); err != nil || !c.leads() {
		t.Errorf("cannot lead: %v", err)
	}
	c.resign()
}

// TestHistoryEndsAtABusdThatHasNone has one of an earlier version, which opens the bucket again instead.
func TestHistoryEndsAtABusdThatHasNone(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "m"})
	s := storeOn(t, natstest.Connect(t, b.home), "m")
	if _, err := s.Put(t.Context(), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	b.store.Close()
	earlier := natstest.Connect(t, b.home)
	_, err := earlier.Subscribe(subjects.For(serverName).StoreAny(), func(m *nats.Msg) { _ = m.Respond(nil) })
	if err != nil {
		t.Fatal(err)
	}
	if err := earlier.Flush(); err != nil {
		t.Fatal(err)
	}
	if entries, err := s.History(t.Context(), "k"); !errors.Is(err, errOlderBusd) {
		t.Errorf("the history is %d entries, %v", len(entries), err)
	}
}

func TestStoreListsNoMoreAtOnceThanASubscriptionHolds(t *testing.T) {
	t.Parallel()
	for maxPayload, want := range map[int64]int{0: listed, 1 << 20: listed, 8 << 20: 8, 64 << 20: 1, 65 << 20: 1} {
		if got := together(maxPayload); got != want {
			t.Errorf("%d values of %d bytes are requested at once, want %d", got, maxPayload, want)
		}
	}
}

func TestStoreNeedsNoMoreThanAModulesPermissions(t *testing.T) {
	t.Parallel()
	b := busdOn(t, modulesUser(t), config.Module{Name: "m"}, config.Module{Name: "other"})
	var refused waittest.Log
	inbox := subjects.For(serverName).Inbox("m", "w")
	nc := natstest.Connect(t, b.home, nats.UserInfo("m", "p"), nats.CustomInboxPrefix(inbox),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { _, _ = refused.Write([]byte(err.Error())) }))
	s, ctx := storeOn(t, nc, "m"), t.Context()
	next, stop := watching(t, s)
	defer stop()
	revision, err := s.Create(ctx, "k", []byte("v"))
	if err != nil {
		t.Fatal(err)
	}
	if got := <-next; got != "k=v" {
		t.Errorf("watched %q", got)
	}
	if _, err := s.Update(ctx, "k", []byte("w"), revision); err != nil {
		t.Error(err)
	}
	if keys, err := s.Keys(ctx); err != nil || len(keys) != 1 {
		t.Errorf("got %v, %v", keys, err)
	}
	if all, err := s.History(ctx, "k"); err != nil || len(all) != 2 {
		t.Errorf("got %v, %v", all, err)
	}
	c := newCandidate("w", LeaderLease, newBucket(nc, subjects.For(serverName), "m", true))
	if err := c.stand(ctx); err != nil || !c.leads() {
		t.Errorf("cannot lead: %v", err)
	}
	c.resign()
	if refused.Has("Violation") {
		t.Errorf("refused: %s", &refused)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := storeOn(t, natstest.Connect(t, b.home), "other").Put(ctx, "secret", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := moduleOn(nc, "other").KeyValue(short); err == nil {
		t.Error("the store of another module was opened")
	}
}

// watching tells what is watched, as key=value.
func watching(t *testing.T, s *Store) (next <-chan string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	entries, ended := make(chan string), make(chan struct{})
	go func() {
		defer close(ended)
		for e := range s.Watch(ctx) {
			text := e.Key + "=" + string(e.Value)
			if e.Deleted {
				text = e.Key + " is gone"
			}
			select {
			case entries <- text:
			case <-ctx.Done():
				return
			}
		}
	}()
	return entries, func() { cancel(); <-ended }
}

func TestWatchOutlivesItsBucket(t *testing.T) {
	t.Parallel()
	first := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir()})
	b := busdOn(t, &natstest.Home{Servers: []*server.Server{first}}, config.Module{Name: "m"})
	s, ctx := storeOn(t, natstest.Connect(t, b.home), "m"), t.Context()
	for _, key := range []string{"a", "a", "b"} { // So that revisions of the next bucket are smaller.
		if _, err := s.Put(ctx, key, []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	next, stop := watching(t, s)
	defer stop()
	if got := []string{<-next, <-next}; !slices.Contains(got, "a=1") || !slices.Contains(got, "b=1") {
		t.Errorf("got %q", got)
	}
	if err := s.Delete(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if got := <-next; got != "b is gone" {
		t.Errorf("got %q", got)
	}
	address := first.Addr().String()
	first.Shutdown()
	first.WaitForShutdown()
	restartNATS(t, address, &server.Options{JetStream: true, StoreDir: t.TempDir()}) // Empty, as that inside a busd that restarts.
	if got := <-next; got != "a is gone" {
		t.Errorf("got %q", got)
	}
	waittest.Until(t, "the store is there again", func() bool {
		_, err := s.Put(ctx, "a", []byte("2"))
		return err == nil
	})
	if got := <-next; got != "a=2" {
		t.Errorf("got %q", got)
	}
}

func TestStoreThatIsFullTakesDeletionsThatMakeRoom(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "m"})
	s := storeOn(t, natstest.Connect(t, b.home), "m")
	put := func(value []byte) error { _, err := s.Put(t.Context(), "k", value); return err }
	for range 2 {
		if err := put(make([]byte, 1024)); err != nil {
			t.Fatal(err)
		}
	}
	for name, limit := range map[string]func(*jetstream.StreamConfig){
		"by the size of values": func(c *jetstream.StreamConfig) { c.MaxMsgSize = 256 },
		"by its own size":       func(c *jetstream.StreamConfig) { c.MaxBytes = 3 << 10 },
	} {
		b.limit("m", limit)
		if err := put(make([]byte, 1024)); !errors.Is(err, ErrStoreFull) {
			t.Errorf("%s: %v", name, err)
		}
		b.limit("m", func(c *jetstream.StreamConfig) { c.MaxMsgSize, c.MaxBytes = -1, -1 })
	}
	if err := put([]byte("small")); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if kept, err := s.History(t.Context(), "k"); err != nil || len(kept) != 1 || !kept[0].Deleted {
		t.Errorf("of a key that was deleted from a full store there are %v, %v", kept, err)
	}
	if _, err := s.Create(t.Context(), "k", make([]byte, 1024)); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if kept, err := s.History(t.Context(), "k"); err != nil || len(kept) != 3 {
		t.Errorf("of a key that was deleted when there is room there are %v, %v", kept, err)
	}
}

// limit changes the limits of a module's store.
func (b *busd) limit(module string, change func(*jetstream.StreamConfig)) {
	b.Helper()
	js, err := jetstream.New(b.nc)
	if err != nil {
		b.Fatal(err)
	}
	stream, err := js.Stream(b.Context(), "KV_"+subjects.For(serverName).StoreBucket(module))
	if err != nil {
		b.Fatal(err)
	}
	c := stream.CachedInfo().Config
	change(&c)
	if _, err := js.UpdateStream(b.Context(), c); err != nil {
		b.Fatal(err)
	}
}
