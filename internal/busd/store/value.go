package store

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// What JetStream says in the header Status of an answer to a direct get.
const (
	statusHeader = "Status"
	ended        = "204" // after what was read: there may be more
	noValue      = "404"
	unserved     = "503" // nobody has such a stream
)

// directGet is a request for values of a stream: the first whose subject matches, from a sequence on, or a batch of them.
type directGet struct {
	Seq      uint64 `json:"seq"`
	NextFor  string `json:"next_by_subj"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

// value answers for one value of a key as JetStream does. Modules may not have JetStream look for it themselves: in the same kind of request
// they could have it read whole stores at once, into memory, without an end.
func (s *Service) value(ctx context.Context, module string, req *rosterv1.OpenBucket) responder.Answer {
	bucket := s.bucketOf(module, req)
	m, err := s.read(ctx, streamOf(bucket), directGet{Seq: req.GetAfter() + 1, NextFor: "$KV." + bucket + "." + req.GetKey()})
	if err != nil {
		return without(err)
	}
	for _, header := range []string{jetstream.StreamHeader, jetstream.SubjectHeader, jetstream.SequenceHeader, jetstream.TimeStampHeaer} {
		if says := said(m, header); says != "" {
			m.Header.Set(header, says)
		}
	}
	return responder.Answer{Header: m.Header, Data: m.Data}
}

// bucketOf is the name of the bucket that a request is about.
func (s *Service) bucketOf(module string, req *rosterv1.OpenBucket) string {
	if req.GetLease() {
		return s.server.LeaseBucket(module)
	}
	return s.server.StoreBucket(module)
}

// maxReading is how many bytes of values may be on their way from NATS to busd at once. Beyond: what reads them waits for others. NATS would end
// busd's connection where 64 MiB of it wait.
const maxReading = 32 << 20

// readers is how many pages and values of stores are read at once.
func readers(maxPayload int64) int { return int(max(1, maxReading/(maxPayload+maxPayload/2))) }

// turn waits until one more may read. done must be called.
func (s *Service) turn(ctx context.Context) (done func(), err error) {
	select {
	case s.reading <- struct{}{}:
		return func() { <-s.reading }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// read has JetStream read one value. The status of the message that it returns says whether there is one.
func (s *Service) read(ctx context.Context, stream string, get directGet) (*nats.Msg, error) {
	request, err := json.Marshal(get)
	if err != nil {
		return nil, err
	}
	done, err := s.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return s.options.Conn.RequestWithContext(ctx, directGets+stream, request)
}

// directGets begins the subjects on which JetStream is asked for values of a stream.
const directGets = "$JS.API.DIRECT.GET."

// without is the answer where there is no value, with the status that JetStream gives.
func without(err error) responder.Answer {
	status := "500"
	if Disabled(err) || errors.Is(err, jetstream.ErrStreamNotFound) {
		status = unserved
	}
	return responder.Answer{Header: nats.Header{statusHeader: {status}, "Description": {err.Error()}}}
}
