// Package store makes the JetStream buckets of modules when their workers ask. Modules may not make streams themselves,
// because a module could make one that captures the subjects of others.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

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
	reading   chan struct{} // has one for each who reads values
	full      prometheus.Gauge
	cancel    context.CancelFunc
	owned     sync.WaitGroup
}

// Serve makes buckets until Close, which must be called.
func Serve(o Options) (*Service, error) {
	ctx, cancel := context.WithCancel(context.Background())
	o.MaxBytes = cmp.Or(o.MaxBytes, maxBytes)
	s := &Service{
		options: o, server: subjects.For(o.ServerName), cancel: cancel, reading: make(chan struct{}, readers(o.Conn.MaxPayload())),
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
	switch {
	case req.GetKey() != "":
		return s.value(ctx, module, req)
	case req.GetList():
		page, err := s.page(ctx, module, req)
		if err != nil {
			return without(err)
		}
		return answer(in, page)
	default:
		return answer(in, s.bucket(ctx, module, req.GetLease()))
	}
}

func answer(in wire.Mapping, m proto.Message) responder.Answer {
	data, err := wire.Encode(m, in)
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
	bucket := strings.TrimPrefix(c.Name, streamOf(""))
	if err := s.open(ctx, c); err != nil {
		s.options.Log.Error().Str("module", module).Str("bucket", bucket).Err(err).Msg("cannot make a bucket for a module")
		return &rosterv1.Bucket{Problem: problemOf(err)}
	}
	if !lease && !s.options.Durable && s.warned.first(module) {
		s.options.Log.Warn().Str("module", module).
			Msg("the module stores something, and it is gone when busd ends: set state_dir to keep it")
	}
	return &rosterv1.Bucket{Name: bucket, Durable: s.options.Durable}
}

func (s *Service) config(module string, lease bool) jetstream.StreamConfig {
	bucket := s.server.StoreBucket(module)
	if lease {
		bucket = s.server.LeaseBucket(module)
	}
	c := jetstream.StreamConfig{
		Name: streamOf(bucket), Subjects: []string{keysOf(bucket)}, Description: "store of modulebus module " + module,
		MaxMsgsPerSubject: wire.StoreHistory, Discard: jetstream.DiscardNew, Duplicates: idTime,
		MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1, AllowRollup: true, DenyDelete: true, AllowDirect: true,
	}
	if lease {
		c.Description, c.MaxAge, c.MaxMsgsPerSubject = "leader of modulebus module "+module, wire.LeaderLease, 1
		return c
	}
	c.RePublish = &jetstream.RePublish{Source: ">", Destination: s.server.Stored(module, ">"), HeadersOnly: true}
	return c
}

// streamOf is the stream of a bucket.
func streamOf(bucket string) string { return "KV_" + bucket }

// keysOf matches the subjects of a bucket's keys.
func keysOf(bucket string) string { return "$KV." + bucket + ".>" }

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

// open makes the bucket if it does not exist, replicated on three servers of a cluster if there are enough. It asks JetStream to describe
// nothing: modules may fill the queue of those requests. See ADR 81.
func (s *Service) open(ctx context.Context, c jetstream.StreamConfig) error {
	if _, err := s.read(ctx, c.Name, directGet{Seq: 1, NextFor: c.Subjects[0]}); err == nil {
		return nil
	}
	js, err := jetstream.New(s.options.Conn)
	if err != nil {
		return err
	}
	err = Replicated(func(replicas int) error {
		c.Replicas = replicas
		_, err := js.CreateStream(ctx, c)
		return err
	})
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil
	}
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
