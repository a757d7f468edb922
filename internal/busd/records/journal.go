package records

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/store"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// apiTime is how long JetStream may take for one request. Beyond: writing is tried again, and reading fails.
	apiTime = 5 * time.Second

	// flushTime is how long writing the last records may take when busd ends. Beyond: they are lost.
	flushTime = 2 * time.Second

	retryTime = time.Second     // between attempts to write
	sameTime  = 2 * time.Minute // in which JetStream knows a message that it has, when it is written again
)

// JournalOptions configure a [Journal]. All are required.
type JournalOptions struct {
	// Conn is the connection to NATS, which stays the caller's.
	Conn *nats.Conn

	// ServerName is the homeserver's.
	ServerName string

	// Metrics gets metrics of the stream's state, and of the records that it lacks.
	Metrics prometheus.Registerer

	// Log gets a line when records cannot be written, and when they can be again.
	Log zerolog.Logger
}

// Journal writes the records of a [Recorder] to a stream in JetStream, where they outlive busd, and reads them from
// there. No ask waits for it: it reads the ring like any reader, and the records that it is too slow for are missing in
// the stream, and counted. While JetStream is away, records wait in the ring, as many as fit. Its methods may be called
// concurrently.
type Journal struct {
	JournalOptions
	recorder *Recorder
	server   subjects.Server
	js       jetstream.JetStream
	lost     prometheus.Counter
	up       prometheus.Gauge
	kept     atomic.Pointer[config.Decisions] // nil: no stream

	mu     sync.Mutex // guards what follows
	reader *Reader    // the writer's; nil while nothing is written
	stop   func()
}

// NewJournal returns a journal that writes nothing before [Journal.Configure]. Close must be called.
func NewJournal(r *Recorder, o JournalOptions) (*Journal, error) {
	js, err := jetstream.New(o.Conn, jetstream.WithPublishAsyncMaxPending(2*chunk), jetstream.WithPublishAsyncTimeout(apiTime))
	if err != nil {
		return nil, err
	}
	j := &Journal{JournalOptions: o, recorder: r, server: subjects.For(o.ServerName), js: js}
	j.lost = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "modulebus", Name: "decisions_lost_total", Help: "Records of decisions that the stream lacks, because JetStream was too slow or away.",
	})
	j.up = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "modulebus", Name: "decisions_stream_up", Help: "Whether records of decisions can be written to the stream, as far as busd wants that.",
	})
	j.up.Set(1)
	r.journal = j
	return j, errors.Join(o.Metrics.Register(j.lost), o.Metrics.Register(j.up), o.Metrics.Register(r.shadows))
}

// Configure applies the operator's configuration of records. If it changes the stream, it blocks for at most two
// seconds.
func (j *Journal) Configure(c config.Decisions) {
	j.recorder.KeepRequests(c.Requests)
	j.mu.Lock()
	defer j.mu.Unlock()
	if now := j.kept.Load(); now == nil && !c.Stream || now != nil && *now == c {
		return
	}
	j.end()
	if !c.Stream {
		j.kept.Store(nil)
		j.reader = nil
		j.up.Set(1)
		return
	}
	j.kept.Store(&c)
	if j.reader == nil {
		j.reader = j.recorder.Follow(decision.Filter{})
	}
	j.begin(&writer{Journal: j, reader: j.reader, settings: c, encoder: encoder{ids: j.recorder.ids}})
}

func (j *Journal) begin(w *writer) {
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	writing.Go(func() { w.run(ctx) })
	j.stop = func() { cancel(); writing.Wait() }
}

func (j *Journal) end() {
	if j.stop != nil {
		j.stop()
		j.stop = nil
	}
}

// Close writes what is left, for two seconds at most, and stops.
func (j *Journal) Close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.end()
}

// wanted returns the configuration of the stream; nil for no stream, or without a journal.
func (j *Journal) wanted() *config.Decisions {
	if j == nil {
		return nil
	}
	return j.kept.Load()
}

// stream returns the stream's configuration as it should be.
func (j *Journal) stream(c *config.Decisions) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: j.server.DecisionStream(), Description: "records of decisions of " + j.ServerName, Subjects: []string{j.server.Decision("*", "*")},
		MaxAge: c.Keep, MaxBytes: c.MaxBytes, Discard: jetstream.DiscardOld, Duplicates: min(sameTime, c.Keep),
	}
}

// open makes the stream, or changes an existing one to the present configuration.
func (j *Journal) open(ctx context.Context, c *config.Decisions) error {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	want := j.stream(c)
	s, err := j.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return store.Replicated(func(replicas int) error {
			want.Replicas = replicas
			_, err := j.js.CreateStream(ctx, want)
			return err
		})
	}
	if err != nil {
		return err
	}
	return j.adapt(ctx, s.CachedInfo().Config, want)
}

// adapt changes the limits of an existing stream. It leaves alone what an operator may have changed, such as replicas
// and placement.
func (j *Journal) adapt(ctx context.Context, is, want jetstream.StreamConfig) error {
	if !slices.Equal(is.Subjects, want.Subjects) || is.Retention != want.Retention || is.Discard != want.Discard || is.Sealed {
		return fmt.Errorf("stream %s was made by somebody else, for other subjects or to keep other things: remove it, "+
			"as with \"nats stream rm\", and busd makes its own", want.Name)
	}
	if is.MaxAge == want.MaxAge && is.MaxBytes == want.MaxBytes {
		return nil
	}
	is.MaxAge, is.MaxBytes, is.Duplicates = want.MaxAge, want.MaxBytes, want.Duplicates
	_, err := j.js.UpdateStream(ctx, is)
	return err
}

// explained adds to an error of JetStream what the operator can do about it.
func (j *Journal) explained(err error) error {
	const noStorage, noResources, noMemory, taken = 10047, 10023, 10028, 10065
	api, _ := errors.AsType[*jetstream.APIError](err)
	switch {
	case err == nil:
		return nil
	case store.Disabled(err):
		return errors.New("JetStream is not enabled on this NATS: enable it, or take decisions out of busd.yaml")
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("stream %s is not there", j.server.DecisionStream())
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		const hint = "or too few servers of its cluster can write: see their logs, and whether their disks are full"
		return fmt.Errorf("stream %s is not there, %s", j.server.DecisionStream(), hint)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, jetstream.ErrAsyncPublishTimeout), errors.Is(err, jetstream.ErrTooManyStalledMsgs):
		return errors.New("JetStream does not answer")
	case api != nil && slices.Contains([]jetstream.ErrorCode{noStorage, noResources, noMemory}, api.ErrorCode):
		return fmt.Errorf("JetStream has no room for decisions.max_bytes: make room, or say less: %w", err)
	case api != nil && api.ErrorCode == taken:
		return fmt.Errorf("a stream of somebody else's has subjects of %s: remove it: %w", j.server.Decision("*", "*"), err)
	}
	return err
}
