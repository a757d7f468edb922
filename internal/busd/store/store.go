// Package store makes the JetStream buckets of modules when their workers ask. Modules may not make streams themselves,
// because a module could make one that captures the subjects of others.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	maxOpening  = 32               // requests of modules for their buckets that are served at once. Beyond: the worker is told to ask again.
	ownOpening  = 2                // requests of a module that are served at once when others take all places. Beyond: the worker is told to ask again.
	makeTimeout = 10 * time.Second // for JetStream to make a bucket
	flushTime   = 2 * time.Second  // for NATS to accept the last answers when the service closes

	// idTime is how long JetStream keeps the IDs of messages to a bucket (Nats-Msg-Id), the least that it takes. It keeps them in
	// memory, each with up to 64 KiB, and for two minutes where nothing else is said: a module could fill the memory. No kit sends any.
	idTime = 100 * time.Millisecond
)

// Options configure [Serve].
type Options struct {
	// Conn is the connection to NATS, which stays the caller's. Required.
	Conn *nats.Conn

	// ServerName is the homeserver's. Required.
	ServerName string

	// Listed reports whether the roster lists a module. Only those get buckets. Required.
	Listed func(module string) bool

	// MaxBytes is how much one module may store, in bytes. Default: 1 GiB.
	MaxBytes int64

	// Durable tells that JetStream's folder outlives busd.
	Durable bool

	// Log gets a line for each bucket that cannot be made, and one for each module whose store is not durable.
	Log *zerolog.Logger
}

// Service makes buckets, and bounds them. It has a metric of those that are full. If a homeserver has several busd, one of them answers a worker.
type Service struct {
	options   Options
	server    subjects.Server
	responder *responder.Responder
	warned    warned
	full      prometheus.Gauge
	cancel    context.CancelFunc
	owned     sync.WaitGroup
}

// Serve makes buckets until Close, which must be called.
func Serve(o Options) (*Service, error) {
	ctx, cancel := context.WithCancel(context.Background())
	o.MaxBytes = cmp.Or(o.MaxBytes, maxBytes)
	s := &Service{
		options: o, server: subjects.For(o.ServerName), cancel: cancel,
		full: prometheus.NewGauge(prometheus.GaugeOpts{Name: "modulebus_stores_full", Help: "How many modules' stores take nothing but deletions."}),
	}
	s.responder = responder.New(o.Conn, responder.Options{
		Limit: maxOpening, Requester: s.requester, Own: ownOpening, Serve: s.serve, Spell: spell, Log: o.Log,
	})
	if err := s.responder.Subscribe(s.server.StoreAny(), "busd"); err != nil {
		s.Close()
		return nil, fmt.Errorf("store: %w", err)
	}
	b, err := s.newBounds()
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("store: %w", err)
	}
	s.owned.Go(func() { b.watch(ctx) })
	return s, o.Conn.Flush()
}

// Close stops answering, and waits for buckets that are being made.
func (s *Service) Close() {
	s.cancel()
	<-s.responder.Drain(flushTime)
	s.owned.Wait()
}

// Describe implements [prometheus.Collector].
func (s *Service) Describe(out chan<- *prometheus.Desc) { s.full.Describe(out) }

// Collect implements [prometheus.Collector].
func (s *Service) Collect(out chan<- prometheus.Metric) { s.full.Collect(out) }

// requester is the module that asks: NATS lets a module use its own name alone. Those that the roster does not list are one requester.
func (s *Service) requester(m *nats.Msg) string {
	module, _ := subjects.ModuleOf(m.Subject) // The subscription has no other subjects.
	if !s.options.Listed(module) {
		return ""
	}
	return module
}

func spell(t responder.Trouble) responder.Answer {
	if t.Cause == responder.Busy {
		return failure(rosterv1.FailureKind_BUSY, t.Text)
	}
	return failure(rosterv1.FailureKind_ERROR, t.Text)
}

func failure(kind rosterv1.FailureKind, text string) responder.Answer {
	return responder.Answer{Header: (&wire.Failure{Kind: kind, Text: text}).Header()}
}

func (s *Service) serve(m *nats.Msg) responder.Answer {
	module, _ := subjects.ModuleOf(m.Subject) // The subscription has no other subjects. An empty name is no module's.
	ctx := s.responder.Begin("", makeTimeout)
	defer ctx.End()
	in, req := wire.MappingOf(m), &rosterv1.OpenBucket{}
	if err := wire.DecodeMessage(m, req); err != nil {
		return failure(rosterv1.FailureKind_MALFORMED, err.Error())
	}
	if req.GetKey() != "" {
		return s.value(ctx, module, req)
	}
	data, err := wire.Encode(s.bucket(ctx, module, req.GetLease()), in)
	if err != nil {
		return failure(rosterv1.FailureKind_ERROR, err.Error())
	}
	return responder.Answer{Header: in.Header(), Data: data}
}

// bucket makes a module's bucket if it is not there yet.
func (s *Service) bucket(ctx context.Context, module string, lease bool) *rosterv1.Bucket {
	if !s.options.Listed(module) {
		return &rosterv1.Bucket{Problem: "the roster does not list this module"}
	}
	c := s.config(module, lease)
	if err := s.open(ctx, c); err != nil {
		s.options.Log.Error().Str("module", module).Str("bucket", c.Bucket).Err(err).Msg("cannot make a bucket for a module")
		return &rosterv1.Bucket{Problem: problemOf(err)}
	}
	if !lease && !s.options.Durable && s.warned.first(module) {
		s.options.Log.Warn().Str("module", module).
			Msg("the module stores something, and it is gone when busd ends: set state_dir to keep it")
	}
	return &rosterv1.Bucket{Name: c.Bucket, Durable: s.options.Durable}
}

func (s *Service) config(module string, lease bool) jetstream.KeyValueConfig {
	if lease {
		return jetstream.KeyValueConfig{
			Bucket: s.server.LeaseBucket(module), Description: "leader of modulebus module " + module, TTL: wire.LeaderLease,
		}
	}
	return jetstream.KeyValueConfig{
		Bucket: s.server.StoreBucket(module), Description: "store of modulebus module " + module, History: wire.StoreHistory,
		RePublish: &jetstream.RePublish{Source: ">", Destination: s.server.Stored(module, ">"), HeadersOnly: true},
	}
}

func problemOf(err error) string {
	if Disabled(err) {
		return "JetStream is not enabled on this NATS"
	}
	return "JetStream cannot make the store: " + err.Error()
}

// Disabled reports whether an error says that NATS has no JetStream.
func Disabled(err error) bool {
	return errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) ||
		errors.Is(err, nats.ErrNoResponders)
}

// open makes the bucket if it does not exist, replicated on three servers of a cluster if there are enough.
func (s *Service) open(ctx context.Context, c jetstream.KeyValueConfig) error {
	js, err := jetstream.New(s.options.Conn)
	if err != nil {
		return err
	}
	if _, err = js.KeyValue(ctx, c.Bucket); errors.Is(err, jetstream.ErrBucketNotFound) {
		err = Replicated(func(replicas int) error {
			c.Replicas = replicas
			_, err := js.CreateKeyValue(ctx, c)
			return err
		})
	}
	if err != nil {
		return err
	}
	return forgetIDs(ctx, js, c.Bucket)
}

// forgetIDs has JetStream keep the IDs of a bucket's messages for as short as it can.
func forgetIDs(ctx context.Context, js jetstream.JetStream, bucket string) error {
	stream, err := js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return err
	}
	c := stream.CachedInfo().Config
	if c.Duplicates == idTime {
		return nil
	}
	c.Duplicates = idTime
	_, err = js.UpdateStream(ctx, c)
	return err
}

// Replicated calls create with three replicas, and again with one if there are too few servers.
func Replicated(create func(replicas int) error) error {
	const safe = 3
	err := create(safe)
	if TooFewServers(err) {
		return create(1)
	}
	return err
}

// TooFewServers reports whether an error says that a cluster cannot replicate a stream or a bucket as often as was asked.
func TooFewServers(err error) bool {
	var api *jetstream.APIError
	const notSupported, insufficient = 10074, 10005
	return errors.As(err, &api) && (api.ErrorCode == notSupported || api.ErrorCode == insufficient)
}
