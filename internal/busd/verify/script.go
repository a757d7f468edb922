package verify

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// joined is a join that has arrived.
type joined struct {
	*rosterv1.Join

	at      time.Time
	deaf    bool // when it arrived, the worker did not listen for questions yet
	revised uint64
}

// script is a scripted busd.
type script struct {
	nc     *nats.Conn
	server subjects.Server
	subs   []*nats.Subscription

	mu       sync.Mutex // guards what follows
	mute     bool       // it answers nothing, as if it were away
	listed   bool
	revision uint64
	config   json.RawMessage
	timeout  time.Duration // the timeout in the module's entry
	entries  int
	said     int // messages from the module, of any kind
	joins    []joined
	leaves   []string // workers that have left
	changed  chan struct{}
}

func openScript(nc *nats.Conn, server subjects.Server, config json.RawMessage) (*script, error) {
	b := &script{nc: nc, server: server, revision: 1, config: config, timeout: answerTime, changed: make(chan struct{})}
	for subject, handle := range map[string]nats.MsgHandler{
		server.Entry(moduleName): b.entry, server.Join(moduleName): b.join, server.Leave(moduleName): b.leave,
	} {
		sub, err := nc.Subscribe(subject, handle)
		if err != nil {
			return nil, err
		}
		b.subs = append(b.subs, sub)
	}
	return b, nc.Flush()
}

func (b *script) close() {
	for _, sub := range b.subs {
		_ = sub.Unsubscribe() // It fails only when the connection is closed.
	}
}

// note calls change, wakes those who wait for a change, and reports whether busd is not mute.
func (b *script) note(change func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said++
	if b.mute {
		return false
	}
	change()
	close(b.changed)
	b.changed = make(chan struct{})
	return true
}

// entry answers with a field that this version does not have. The first time, the module is not listed yet.
func (b *script) entry(m *nats.Msg) {
	e := &rosterv1.Entry{}
	if b.note(func() {
		b.entries++
		if e.Listed = b.listed; e.Listed {
			e.ConfigRevision, e.Config, e.TimeoutMs, e.JoinEveryMs = b.revision, b.config, wire.Milliseconds(b.timeout), wire.Milliseconds(joinEvery)
		}
		b.listed = true
	}) {
		b.reply(m, e)
	}
}

func (b *script) join(m *nats.Msg) {
	j := &rosterv1.Join{}
	if wire.DecodeMessage(m, j) != nil {
		j = &rosterv1.Join{}
	}
	deaf := b.deaf(j)
	if b.note(func() { b.joins = append(b.joins, joined{j, time.Now(), deaf, b.revision}) }) {
		b.reply(m, &rosterv1.Joined{Listed: true})
	}
}

// deaf reports whether a worker that joins for the first time does not listen for what it registers.
func (b *script) deaf(j *rosterv1.Join) bool {
	if slices.ContainsFunc(b.all(), func(o joined) bool { return o.GetWorker() == j.GetWorker() }) {
		return false
	}
	for _, name := range j.GetCallbacks() {
		if d, ok := subjects.Find(name); ok {
			_, err := b.nc.Request(b.server.Callback(d, moduleName), nil, answerTime)
			return errors.Is(err, nats.ErrNoResponders) // The answer to an empty question does not matter.
		}
	}
	return false
}

func (b *script) leave(m *nats.Msg) {
	l := &rosterv1.Leave{}
	_ = wire.DecodeMessage(m, l) // A leave that cannot be read is noted, too.
	if b.note(func() { b.leaves = append(b.leaves, l.GetWorker()) }) {
		b.reply(m, &rosterv1.Joined{Listed: true})
	}
}

// tomorrow is the number of a field that no message has.
const tomorrow = 4000

// reply answers in the encoding of the request, with a field of a later version.
func (b *script) reply(m *nats.Msg, answer proto.Message) {
	in := wire.MappingOf(m)
	if in == wire.Binary {
		answer.ProtoReflect().SetUnknown(futureField)
	}
	data, err := wire.Encode(answer, in)
	if err != nil {
		return
	}
	if in == wire.JSON {
		data = withField(data)
	}
	_ = m.RespondMsg(&nats.Msg{Header: in.Header(), Data: data}) // It fails when the connection is closed.
}

// withField adds a field of a later version to a JSON object.
func withField(object []byte) []byte {
	var all map[string]json.RawMessage
	if json.Unmarshal(object, &all) != nil || all == nil {
		return object
	}
	all["field_of_tomorrow"] = json.RawMessage(`{"a": [1]}`)
	out, err := json.Marshal(all)
	if err != nil {
		return object
	}
	return out
}

func (b *script) all() []joined {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.joins)
}

func (b *script) count() int { return len(b.all()) }

// last returns the last join.
func (b *script) last() joined {
	all := b.all()
	if len(all) == 0 {
		return joined{Join: &rosterv1.Join{}}
	}
	return all[len(all)-1]
}

// joinedAfter reports whether there are more than count joins, and returns a channel that is closed at the next change.
func (b *script) joinedAfter(count int) (bool, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.joins) > count, b.changed
}

// configure changes the module's configuration, and tells the module.
func (b *script) configure(config json.RawMessage) (revision uint64) {
	b.mu.Lock()
	b.revision++
	b.config = config
	e := &rosterv1.Entry{
		Listed: true, ConfigRevision: b.revision, Config: config, TimeoutMs: wire.Milliseconds(answerTime), JoinEveryMs: wire.Milliseconds(joinEvery),
	}
	b.mu.Unlock()
	data, err := wire.Encode(e, wire.Binary)
	if err == nil {
		_ = b.nc.Publish(b.server.Changed(moduleName), data) // It fails when the connection is closed.
	}
	return e.GetConfigRevision()
}

// allow changes the module's timeout for questions, and waits until the module has the new entry.
func (b *script) allow(ctx context.Context, s *stage, d time.Duration) {
	b.mu.Lock()
	b.timeout = d
	b.mu.Unlock()
	for range 2 { // The first join may follow the old entry.
		_ = s.awaitJoin(ctx, b.count()) // A module that does not join again breaks another rule.
	}
}

func (b *script) away(is bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mute = is
}

// left reports whether the worker has said that it leaves.
func (b *script) left(worker string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.leaves, worker)
}

func (b *script) counts() (entries, said int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries, b.said
}
