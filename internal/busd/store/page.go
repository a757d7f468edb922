package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const (
	// pageValues is how many values one page of a list is made of. Beyond: they come on the next page.
	pageValues = 4096

	// aroundValue is more than what is written around a value and its key on a page, in bytes.
	aroundValue = 128
)

// page returns the values of a bucket that come after a revision. It reads messages in their order, so what a page costs does not depend on
// how much is stored.
func (s *Service) page(ctx context.Context, module string, req *rosterv1.OpenBucket) (*rosterv1.BucketPage, error) {
	done, err := s.turn(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	bucket, most := s.bucketOf(module, req), int(s.options.Conn.MaxPayload())/2 // JSON has a third more.
	messages, err := s.batch(ctx, bucket, req.GetAfter()+1, most)
	if err == nil && len(messages) == 0 {
		messages, err = s.confirmed(ctx, bucket, req.GetAfter()+1)
	}
	if err != nil {
		return nil, err
	}
	page := &rosterv1.BucketPage{Listed: true}
	for _, m := range latest(messages) {
		v := valueOf(bucket, m)
		size := len(v.GetKey()) + len(v.GetValue()) + aroundValue
		if len(page.GetValues()) > 0 && most < size {
			break
		}
		if most -= size; most < 0 {
			v.LeftOut, v.Value = true, nil
		}
		page.Values = append(page.Values, v)
	}
	return page, nil
}

// latest are the messages that none of the same key follows, in their order.
func latest(messages []*nats.Msg) (last []*nats.Msg) {
	seen := map[string]bool{}
	for _, m := range slices.Backward(messages) {
		if key := said(m, jetstream.SubjectHeader); !seen[key] {
			seen[key] = true
			last = append(last, m)
		}
	}
	slices.Reverse(last)
	return last
}

func valueOf(bucket string, m *nats.Msg) *rosterv1.BucketValue {
	revision, _ := strconv.ParseUint(said(m, jetstream.SequenceHeader), 10, 64) // The server wrote it.
	v := &rosterv1.BucketValue{
		Key: strings.TrimPrefix(said(m, jetstream.SubjectHeader), "$KV."+bucket+"."), Revision: revision,
		Created: said(m, jetstream.TimeStampHeaer), Deleted: m.Header.Get("KV-Operation") != "",
	}
	if !v.GetDeleted() {
		v.Value = m.Data
	}
	return v
}

// said is what the server says in a header of a value; empty where it is no value. The module may have written it with a header of that name: the
// server's comes behind that.
func said(m *nats.Msg, header string) string {
	if all := m.Header[header]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// batch has JetStream read messages from a sequence on, of most bytes and one more message.
func (s *Service) batch(ctx context.Context, bucket string, from uint64, most int) (messages []*nats.Msg, err error) {
	request, err := json.Marshal(directGet{Seq: from, NextFor: keysOf(bucket), Batch: pageValues, MaxBytes: most})
	if err != nil {
		return nil, err
	}
	inbox, err := s.options.Conn.SubscribeSync(s.options.Conn.NewInbox())
	if err != nil {
		return nil, err
	}
	defer func() { _ = inbox.Unsubscribe() }() // It fails only when the connection is closed.
	if err := s.options.Conn.PublishRequest(directGets+streamOf(bucket), inbox.Subject, request); err != nil {
		return nil, err
	}
	for {
		m, err := inbox.NextMsgWithContext(ctx)
		if err != nil {
			return nil, err
		}
		switch status := m.Header.Get(statusHeader); {
		case said(m, jetstream.SequenceHeader) != "":
			messages = append(messages, m)
		case status == ended, status == noValue:
			return messages, nil
		case status == unserved:
			return nil, nats.ErrNoResponders
		default:
			return nil, fmt.Errorf("%s %s", status, m.Header.Get("Description"))
		}
	}
}

// confirmed returns the next message, if there is one, from the leader of the stream. The replica that was asked before may be behind.
func (s *Service) confirmed(ctx context.Context, bucket string, from uint64) ([]*nats.Msg, error) {
	request, err := json.Marshal(directGet{Seq: from, NextFor: keysOf(bucket)})
	if err != nil {
		return nil, err
	}
	m, err := s.options.Conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+streamOf(bucket), request)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Header  []byte `json:"hdrs"`
			Data    []byte `json:"data"`
			Time    string `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, err
	}
	if e := answer.Error; e != nil && e.ErrorCode == jetstream.JSErrCodeMessageNotFound {
		return nil, nil
	} else if e != nil {
		return nil, e
	}
	header, err := nats.DecodeHeadersMsg(answer.Message.Header)
	if err != nil {
		header = nats.Header{}
	}
	header.Set(jetstream.SubjectHeader, answer.Message.Subject)
	header.Set(jetstream.SequenceHeader, strconv.FormatUint(answer.Message.Seq, 10))
	header.Set(jetstream.TimeStampHeaer, answer.Message.Time)
	return []*nats.Msg{{Header: header, Data: answer.Message.Data}}, nil
}
