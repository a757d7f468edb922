package modulekit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// storeTimeout is how long one use of a store may take, unless its context ends earlier. A store is listed in pages, each of which may take
// as long.
const storeTimeout = 10 * time.Second

// bucket is a JetStream key-value bucket that busd makes. It uses no consumers, because a module's permissions do not
// allow them. When the bucket is gone, because NATS was restarted, it is opened again, and busd makes another.
type bucket struct {
	nc      *nats.Conn
	subject string                 // where busd is asked to make it
	lease   bool                   // which of the module's two it is
	told    func(at string) string // the subject on which changes of the store are published

	mu       sync.Mutex
	name     string // empty until it is opened
	js       jetstream.JetStream
	refused  int // size of the last write that it had no room for, until one as large is stored; 0 for none
	watchers map[int]func(key string)
	next     int // key of the next watcher
}

func newBucket(nc *nats.Conn, server subjects.Server, module string, lease bool) *bucket {
	return &bucket{
		nc: nc, subject: server.Store(module), lease: lease, watchers: map[int]func(string){},
		told: func(at string) string { return server.Stored(module, at) },
	}
}

// open returns the name of the bucket, which is made if need be.
func (b *bucket) open(ctx context.Context) (name string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.name != "" {
		return b.name, nil
	}
	if b.js, err = jetstream.New(b.nc); err != nil {
		return "", err
	}
	if b.name, err = b.make(ctx); err != nil {
		return "", err
	}
	for _, changed := range b.watchers {
		changed("")
	}
	return b.name, nil
}

// make asks busd to make the bucket.
func (b *bucket) make(ctx context.Context) (name string, err error) {
	made := &rosterv1.Bucket{}
	if err := request(ctx, b.nc, b.subject, &rosterv1.OpenBucket{Lease: b.lease}, made); err != nil {
		return "", fmt.Errorf("%w: busd does not answer: %w", ErrNoStore, err)
	}
	if made.GetProblem() != "" {
		return "", fmt.Errorf("%w: %s", ErrNoStore, made.GetProblem())
	}
	return made.GetName(), nil
}

// forget makes the next use open the bucket again.
func (b *bucket) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.name = ""
}

// use calls do with the bucket's name, for as long as one use may take.
func (b *bucket) use(ctx context.Context, do func(ctx context.Context, name string) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return b.useLong(ctx, do)
}

// useLong calls do with the bucket's name. If the bucket is gone, it makes a new one and calls do again.
func (b *bucket) useLong(ctx context.Context, do func(ctx context.Context, name string) error) error {
	for again := true; ; again = false {
		name, err := b.open(ctx)
		if err == nil {
			err = do(ctx, name)
		}
		if !gone(err) {
			return err
		}
		b.forget()
		if !again {
			return err
		}
	}
}

// gone reports whether an error says that there is no such stream.
func gone(err error) bool {
	return errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, jetstream.ErrStreamNotFound) ||
		errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, nats.ErrNoResponders)
}

// prefix is the beginning of the subjects of keys.
func prefix(bucket string) string { return "$KV." + bucket + "." }

const (
	operation      = "KV-Operation" // header of a deletion
	operationDel   = "DEL"
	operationPurge = "PURGE" // a deletion of earlier values, too
	operationPuts  = ""
)

// Get implements [kitopts.Bucket].
func (b *bucket) Get(ctx context.Context, key string) (kitopts.Entry, error) {
	e, err := b.last(ctx, key)
	if err == nil && e.Deleted {
		err = ErrKeyNotFound
	}
	return e, err
}

// last is Get, and returns deletions too.
func (b *bucket) last(ctx context.Context, key string) (e kitopts.Entry, err error) {
	err = b.use(ctx, func(ctx context.Context, name string) error {
		m, err := b.nc.RequestWithContext(ctx, get(name, key), nil)
		if err != nil {
			return err
		}
		there, err := isThere(m)
		if err == nil && !there {
			return ErrKeyNotFound
		}
		if there {
			e = readEntry(prefix(name), m)
		}
		return err
	})
	return e, err
}

// Write implements [kitopts.Bucket]. A deleted key counts as one that does not exist.
func (b *bucket) Write(ctx context.Context, key string, w kitopts.Write) (uint64, error) {
	revision, err := b.publish(ctx, key, w)
	if !errors.Is(err, ErrConflict) || *w.After != 0 {
		return revision, err
	}
	e, lastErr := b.last(ctx, key)
	if lastErr != nil || !e.Deleted {
		return 0, err
	}
	w.After = &e.Revision
	return b.publish(ctx, key, w)
}

func (b *bucket) publish(ctx context.Context, key string, w kitopts.Write) (revision uint64, err error) {
	const attempts, wait = 1, 50 * time.Millisecond // use tries again, too
	opts := []jetstream.PublishOpt{jetstream.WithRetryAttempts(attempts), jetstream.WithRetryWait(wait)}
	if w.After != nil {
		opts = append(opts, jetstream.WithExpectLastSequencePerSubject(*w.After))
	}
	err = b.use(ctx, func(ctx context.Context, name string) error {
		m := &nats.Msg{Subject: prefix(name) + key, Data: w.Value}
		if w.Delete {
			m.Header = b.deletion()
		}
		ack, err := b.js.PublishMsg(ctx, m, opts...)
		if conflict(err) {
			return ErrConflict
		}
		if err == nil {
			revision = ack.Sequence
		}
		return b.fits(w, err)
	})
	return revision, err
}

// deletion is the header of a message that deletes a key, and in a full store also its earlier values.
func (b *bucket) deletion() nats.Header {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refused > 0 {
		return nats.Header{operation: {operationPurge}, jetstream.MsgRollup: {jetstream.MsgRollupSubject}}
	}
	return nats.Header{operation: {operationDel}}
}

// fits remembers whether the store had room for what was written, and returns [ErrStoreFull] for an error that says that it had not.
func (b *bucket) fits(w kitopts.Write, err error) error {
	var api *jetstream.APIError
	const tooLarge, notStored = 10054, 10077
	full := errors.As(err, &api) &&
		(api.ErrorCode == tooLarge || api.ErrorCode == notStored && strings.Contains(api.Description, "maximum bytes"))
	size := len(w.Value) + 1 // An empty value has a size, too.
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case full && w.Delete:
		b.refused = max(b.refused, size)
		return ErrStoreFull
	case full:
		b.refused = size
		return ErrStoreFull
	case err == nil && size >= b.refused && !w.Delete: // A full store takes small values.
		b.refused = 0
	}
	return err
}

func conflict(err error) bool {
	var api *jetstream.APIError
	const wrongLast, wrongLastReplicated = 10071, 10164
	return errors.As(err, &api) && (api.ErrorCode == wrongLast || api.ErrorCode == wrongLastReplicated)
}

// Last implements [kitopts.Bucket]. busd reads the values, and leaves out those that are large, which are read after that.
func (b *bucket) Last(ctx context.Context) (entries []kitopts.Entry, err error) {
	err = b.useLong(ctx, func(ctx context.Context, name string) error {
		last, leftOut, err := b.pages(ctx)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(slices.Collect(maps.Keys(leftOut)), together(b.nc.MaxPayload())) {
			more, err := b.list(ctx, name, some)
			if err != nil {
				return err
			}
			for _, e := range more {
				last[e.Key] = e
			}
		}
		entries = slices.Collect(maps.Values(last))
		return nil
	})
	return entries, err
}

// pages reads all pages of a list. A key may come on several of them: the last time counts.
func (b *bucket) pages(ctx context.Context) (last map[string]kitopts.Entry, leftOut map[string]bool, err error) {
	last, leftOut = map[string]kitopts.Entry{}, map[string]bool{}
	for after := uint64(0); ; {
		page, err := b.page(ctx, after)
		if err != nil || len(page) == 0 {
			return last, leftOut, err
		}
		for _, v := range page {
			delete(last, v.GetKey())
			delete(leftOut, v.GetKey())
			if v.GetLeftOut() {
				leftOut[v.GetKey()] = true
			} else {
				last[v.GetKey()] = entryOf(v)
			}
		}
		after = page[len(page)-1].GetRevision()
	}
}

func entryOf(v *rosterv1.BucketValue) kitopts.Entry {
	at, _ := time.Parse(time.RFC3339Nano, v.GetCreated()) // The server wrote it.
	return kitopts.Entry{Key: v.GetKey(), Value: v.GetValue(), Revision: v.GetRevision(), Created: at, Deleted: v.GetDeleted()}
}

// page reads the values that come after a revision, as many as come at once; none is the end.
func (b *bucket) page(ctx context.Context, after uint64) ([]*rosterv1.BucketValue, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	m, _, err := b.ask(ctx, &rosterv1.OpenBucket{Lease: b.lease, List: true, After: after})
	if err != nil {
		return nil, err
	}
	page := &rosterv1.BucketPage{}
	if err := wire.DecodeMessage(m, page); err != nil {
		return nil, err
	}
	if !page.GetListed() {
		return nil, errOlderBusd
	}
	return page.GetValues(), nil
}

// listed is how many values are requested before the first of them is waited for, at most.
const listed = 32

// together is how many there are where values may be that large: no more than a subscription holds.
func together(maxPayload int64) int {
	return int(max(1, min(listed, nats.DefaultSubPendingBytesLimit/max(1, maxPayload))))
}

// list reads the last entries of some keys, which the server answers with a message for each.
func (b *bucket) list(ctx context.Context, name string, keys []string) (entries []kitopts.Entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	inbox, err := b.nc.SubscribeSync(b.nc.NewInbox())
	if err != nil {
		return nil, err
	}
	defer func() { _ = inbox.Unsubscribe() }() // It fails only when the connection is closed.
	for _, key := range keys {
		if err := b.nc.PublishRequest(get(name, key), inbox.Subject, nil); err != nil {
			return nil, err
		}
	}
	for range keys {
		m, err := inbox.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		if there, err := isThere(m); err != nil {
			return nil, err
		} else if there {
			entries = append(entries, readEntry(prefix(name), m))
		}
	}
	return entries, nil
}

// get is the subject on which the last value of a key is requested.
func get(name, key string) string { return "$JS.API.DIRECT.GET.KV_" + name + "." + prefix(name) + key }

// ask has busd read values, for as long as ctx lasts. Where busd is busy, it is asked again.
func (b *bucket) ask(ctx context.Context, req *rosterv1.OpenBucket) (m *nats.Msg, there bool, err error) {
	for wait := askAgain; ; wait *= 2 {
		if m, err = exchange(ctx, b.nc, b.subject, req); err != nil {
			return nil, false, err
		}
		there, err = isThere(m)
		if busy := (*wire.Failure)(nil); !errors.As(err, &busy) || busy.Kind != rosterv1.FailureKind_BUSY {
			return m, there, err
		}
		select {
		case <-ctx.Done():
			return nil, false, err
		case <-time.After(wait):
		}
	}
}

// askAgain is how long a worker waits, the first time, before it asks a busd again that is busy.
const askAgain = 10 * time.Millisecond

// errOlderBusd is the error for an answer that opens the bucket, where values were asked for.
var errOlderBusd = errors.New("modulekit: busd is of an earlier version, which reads neither lists nor histories: upgrade it")

// isThere reports whether the server, or busd, has answered with a value.
func isThere(m *nats.Msg) (bool, error) {
	switch status := m.Header.Get("Status"); status {
	case "":
		if failed := wire.FailureOf(m); failed != nil {
			return false, failed
		}
		return true, nil
	case "404":
		return false, nil
	case "503":
		return false, nats.ErrNoResponders
	default:
		return false, fmt.Errorf("modulekit: cannot read the store: %s %s", status, m.Header.Get("Description"))
	}
}

func readEntry(prefix string, m *nats.Msg) kitopts.Entry {
	sequence, _ := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64) // The server wrote both.
	at, _ := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	e := kitopts.Entry{
		Key: strings.TrimPrefix(m.Header.Get("Nats-Subject"), prefix), Revision: sequence, Created: at, Deleted: m.Header.Get(operation) != operationPuts,
	}
	if !e.Deleted {
		e.Value = m.Data
	}
	return e
}

// History implements [kitopts.Bucket].
func (b *bucket) History(ctx context.Context, key string) (entries []kitopts.Entry, err error) {
	err = b.use(ctx, func(ctx context.Context, name string) error {
		entries = nil
		for ask := (&rosterv1.OpenBucket{Lease: b.lease, Key: key}); ; {
			m, there, err := b.ask(ctx, ask)
			if !there {
				return err
			}
			if m.Header.Get(jetstream.SequenceHeader) == "" {
				return errOlderBusd
			}
			e := readEntry(prefix(name), m)
			entries, ask.After = append(entries, e), e.Revision
		}
	})
	return entries, err
}

// Watch implements [kitopts.Bucket]. What the stream tells is a hint only: it may be lost.
func (b *bucket) Watch(ctx context.Context, changed func(key string)) error {
	var sub *nats.Subscription
	err := b.use(ctx, func(_ context.Context, name string) (err error) {
		start := b.told(prefix(name))
		sub, err = b.nc.Subscribe(start+">", func(m *nats.Msg) { changed(strings.TrimPrefix(m.Subject, start)) })
		return err
	})
	if err != nil {
		return err
	}
	if err := b.nc.FlushTimeout(busdTimeout); err != nil {
		_ = sub.Unsubscribe()
		return err
	}
	go b.relist(ctx, sub, changed)
	return nil
}

// relist reports that any key may have changed, each time that NATS was away or the bucket was made anew, until ctx
// ends.
func (b *bucket) relist(ctx context.Context, sub *nats.Subscription, changed func(key string)) {
	defer b.addWatcher(changed)()
	defer func() { _ = sub.Unsubscribe() }() // It fails only when the connection is closed.
	connected := b.nc.StatusChanged(nats.CONNECTED)
	defer b.nc.RemoveStatusListener(connected)
	for {
		select {
		case <-ctx.Done():
			return
		case _, open := <-connected:
			if !open {
				return
			}
			b.forget()
			changed("")
		}
	}
}

func (b *bucket) addWatcher(changed func(key string)) (remove func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := b.next
	b.next++
	b.watchers[key] = changed
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watchers, key)
	}
}

// request sends busd a request and waits for the reply.
func request(ctx context.Context, nc *nats.Conn, subject string, req, reply proto.Message) error {
	ctx, cancel := context.WithTimeout(ctx, busdTimeout)
	defer cancel()
	msg, err := exchange(ctx, nc, subject, req)
	if err != nil {
		return err
	}
	if failed := wire.FailureOf(msg); failed != nil {
		return failed
	}
	return wire.DecodeMessage(msg, reply)
}

// exchange sends busd a request and returns what it answers before ctx ends.
func exchange(ctx context.Context, nc *nats.Conn, subject string, req proto.Message) (*nats.Msg, error) {
	data, err := wire.Encode(req, wire.Binary)
	if err != nil {
		return nil, err
	}
	return nc.RequestWithContext(ctx, subject, data)
}
