package modulekit

import (
	"context"
	"errors"
	"fmt"
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

// storeTimeout is how long one use of a store may take, unless its context ends earlier.
const storeTimeout = 10 * time.Second

// bucket is a JetStream key-value bucket that busd makes. It uses no consumers, because a module's permissions do not
// allow them. When the bucket is gone, because NATS was restarted, it is opened again, and busd makes another.
type bucket struct {
	nc      *nats.Conn
	subject string                 // where busd is asked to make it
	lease   bool                   // which of the module's two it is
	told    func(at string) string // the subject on which changes of the store are published

	mu       sync.Mutex
	stream   jetstream.Stream // nil until it is opened
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

// open returns the stream of the bucket, again if it had been opened.
func (b *bucket) open(ctx context.Context) (jetstream.Stream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stream != nil {
		return b.stream, nil
	}
	name, err := b.make(ctx)
	if err != nil {
		return nil, err
	}
	if b.js, err = jetstream.New(b.nc); err != nil {
		return nil, err
	}
	if b.stream, err = b.js.Stream(ctx, "KV_"+name); err != nil {
		return nil, err
	}
	for _, changed := range b.watchers {
		changed("")
	}
	return b.stream, nil
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
	b.stream = nil
}

// use calls do with the stream. If the bucket is gone, it makes a new one and calls do again.
func (b *bucket) use(ctx context.Context, do func(context.Context, jetstream.Stream) error) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	for again := true; ; again = false {
		stream, err := b.open(ctx)
		if err == nil {
			err = do(ctx, stream)
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
func prefix(s jetstream.Stream) string {
	return "$KV." + strings.TrimPrefix(s.CachedInfo().Config.Name, "KV_") + "."
}

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
	err = b.use(ctx, func(ctx context.Context, s jetstream.Stream) error {
		m, err := s.GetLastMsgForSubject(ctx, prefix(s)+key)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return ErrKeyNotFound
		}
		if err == nil {
			e = entryOf(key, m)
		}
		return err
	})
	return e, err
}

func entryOf(key string, m *jetstream.RawStreamMsg) kitopts.Entry {
	e := kitopts.Entry{Key: key, Revision: m.Sequence, Created: m.Time, Deleted: m.Header.Get(operation) != operationPuts}
	if !e.Deleted {
		e.Value = m.Data
	}
	return e
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
	err = b.use(ctx, func(ctx context.Context, s jetstream.Stream) error {
		m := &nats.Msg{Subject: prefix(s) + key, Data: w.Value}
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

// Last implements [kitopts.Bucket].
func (b *bucket) Last(ctx context.Context) (entries []kitopts.Entry, err error) {
	err = b.use(ctx, func(ctx context.Context, s jetstream.Stream) error {
		entries = nil
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(prefix(s)+">"))
		if err != nil {
			return err
		}
		var subjects []string
		for subject := range info.State.Subjects {
			subjects = append(subjects, subject)
		}
		for some := range slices.Chunk(subjects, together(b.nc.MaxPayload())) {
			more, err := b.list(ctx, s, some)
			if err != nil {
				return err
			}
			entries = append(entries, more...)
		}
		return nil
	})
	return entries, err
}

// listed is how many values are requested before the first of them is waited for, at most.
const listed = 32

// together is how many there are where values may be that large: no more than a subscription holds.
func together(maxPayload int64) int {
	return int(max(1, min(listed, nats.DefaultSubPendingBytesLimit/max(1, maxPayload))))
}

// list reads the last entries of some keys, which the server answers with a message for each.
func (b *bucket) list(ctx context.Context, s jetstream.Stream, keys []string) (entries []kitopts.Entry, err error) {
	inbox, err := b.nc.SubscribeSync(b.nc.NewInbox())
	if err != nil {
		return nil, err
	}
	defer func() { _ = inbox.Unsubscribe() }() // It fails only when the connection is closed.
	for _, key := range keys {
		if err := b.nc.PublishRequest("$JS.API.DIRECT.GET."+s.CachedInfo().Config.Name+"."+key, inbox.Subject, nil); err != nil {
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
			entries = append(entries, listedEntry(prefix(s), m))
		}
	}
	return entries, nil
}

// errOlderBusd is the error for an answer that opens the bucket, where a value was asked for.
var errOlderBusd = errors.New("modulekit: busd is of an earlier version, which reads no histories: upgrade it")

// isThere reports whether the server, or busd, has answered with a value.
func isThere(m *nats.Msg) (bool, error) {
	switch status := m.Header.Get("Status"); status {
	case "":
		if failed := wire.FailureOf(m); failed != nil {
			return false, failed
		}
		if m.Header.Get(jetstream.SequenceHeader) == "" {
			return false, errOlderBusd
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

func listedEntry(prefix string, m *nats.Msg) kitopts.Entry {
	sequence, _ := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64) // The server wrote both.
	at, _ := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	key := strings.TrimPrefix(m.Header.Get("Nats-Subject"), prefix)
	return entryOf(key, &jetstream.RawStreamMsg{Sequence: sequence, Time: at, Header: m.Header, Data: m.Data})
}

// History implements [kitopts.Bucket].
func (b *bucket) History(ctx context.Context, key string) (entries []kitopts.Entry, err error) {
	err = b.use(ctx, func(ctx context.Context, s jetstream.Stream) error {
		entries = nil
		for ask := (&rosterv1.OpenBucket{Lease: b.lease, Key: key}); ; {
			m, err := exchange(ctx, b.nc, b.subject, ask)
			if err != nil {
				return err
			}
			if there, err := isThere(m); !there {
				return err
			}
			e := listedEntry(prefix(s), m)
			entries, ask.After = append(entries, e), e.Revision
		}
	})
	return entries, err
}

// Watch implements [kitopts.Bucket]. What the stream tells is a hint only: it may be lost.
func (b *bucket) Watch(ctx context.Context, changed func(key string)) error {
	var sub *nats.Subscription
	err := b.use(ctx, func(_ context.Context, s jetstream.Stream) (err error) {
		start := b.told(prefix(s))
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
	msg, err := exchange(ctx, nc, subject, req)
	if err != nil {
		return err
	}
	if failed := wire.FailureOf(msg); failed != nil {
		return failed
	}
	return wire.DecodeMessage(msg, reply)
}

// exchange sends busd a request and returns what it answers.
func exchange(ctx context.Context, nc *nats.Conn, subject string, req proto.Message) (*nats.Msg, error) {
	data, err := wire.Encode(req, wire.Binary)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, busdTimeout)
	defer cancel()
	return nc.RequestWithContext(ctx, subject, data)
}
