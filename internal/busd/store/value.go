package store

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// value answers for one value of a key as JetStream does. Modules may not have JetStream look for it themselves: in the same kind of request
// they could have it read whole stores at once, into memory, without an end.
func (s *Service) value(ctx context.Context, module string, req *rosterv1.OpenBucket) responder.Answer {
	bucket := s.server.StoreBucket(module)
	if req.GetLease() {
		bucket = s.server.LeaseBucket(module)
	}
	js, err := jetstream.New(s.options.Conn)
	if err != nil {
		return without(err)
	}
	stream, err := js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return without(err)
	}
	m, err := stream.GetMsg(ctx, req.GetAfter()+1, jetstream.WithGetMsgSubject("$KV."+bucket+"."+req.GetKey()))
	if err != nil {
		return without(err)
	}
	header := nats.Header{}
	maps.Copy(header, m.Header)
	header.Set(jetstream.StreamHeader, "KV_"+bucket)
	header.Set(jetstream.SubjectHeader, m.Subject)
	header.Set(jetstream.SequenceHeader, strconv.FormatUint(m.Sequence, 10))
	header.Set(jetstream.TimeStampHeaer, m.Time.UTC().Format(time.RFC3339Nano))
	return responder.Answer{Header: header, Data: m.Data}
}

// without is the answer where there is no value, with the status that JetStream gives.
func without(err error) responder.Answer {
	status := "500"
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		status = "404"
	case Disabled(err), errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrNoStreamResponse):
		status = "503"
	}
	return responder.Answer{Header: nats.Header{"Status": {status}, "Description": {err.Error()}}}
}
