package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Rules about what a module needs in requests, and what it asks its homeserver for.

func needsInOrder(_ context.Context, s *stage) error {
	j := s.busd.last()
	for name, needs := range j.GetNeeds() {
		if err := needsOf(j.Join, name, needs); err != nil {
			return fmt.Errorf("needs of its join: %s: %w", name, err)
		}
	}
	for _, d := range s.registered() {
		if declared.Of(d).Key != nil && len(j.GetNeeds()[d.FullName()].GetKeys()) == 0 {
			return fmt.Errorf("its join registers %s and names no keys in needs: it is asked about no %s", d.FullName(), declared.Of(d).Key.Name())
		}
	}
	return nil
}

func needsOf(j *rosterv1.Join, name string, needs *rosterv1.Needs) error {
	d, known := subjects.Find(name)
	switch {
	case !slices.Contains(j.GetCallbacks(), name):
		return errors.New("it does not register that callback")
	case !known:
		return nil // A later version may know it.
	case needs.GetState() != nil && declared.Of(d).State == nil:
		return errors.New("its request has no state")
	case len(needs.GetKeys()) > 0 && declared.Of(d).Key == nil:
		return errors.New("its request has no key")
	}
	for _, k := range needs.GetKeys() {
		if k.GetValue() == "" {
			return errors.New("a key has no value")
		}
	}
	return nil
}

// askAll asks all callbacks at once, and returns those that were not answered. The answers do not matter.
func (s *stage) askAll(ctx context.Context, with func(question) question) (lost []string) {
	all := s.registered()
	failed := make(chan string, len(all))
	for _, d := range all {
		go func() {
			_, err := s.ask(ctx, with(s.question(d)))
			name := d.FullName()
			if !errors.Is(err, errLost) {
				name = ""
			}
			failed <- name
		}()
	}
	for range all {
		if name := <-failed; name != "" {
			lost = append(lost, name)
		}
	}
	slices.Sort(lost)
	return lost
}

func asIs(q question) question { return q }

// callsBack asks everything that the module registers, and reports whether it calls its homeserver.
func (s *stage) callsBack(ctx context.Context) bool {
	s.askAll(ctx, asIs)
	calls, _ := s.homeserver.called()
	return calls > 0
}

const callsNot = skip("it does not call the Module API for what it is asked here")

func asksBack(ctx context.Context, s *stage) error {
	if !s.callsBack(ctx) {
		return callsNot
	}
	if _, wrong := s.homeserver.called(); wrong != "" {
		return errors.New(wrong)
	}
	return nil
}

func asksBackRefused(ctx context.Context, s *stage) error {
	if !s.callsBack(ctx) {
		return callsNot
	}
	s.homeserver.be(refusing)
	lost := s.askAll(ctx, asIs)
	s.homeserver.be(answering)
	if len(lost) > 0 {
		return fmt.Errorf("its call of the Module API was refused with 403 M_FORBIDDEN, and %s got no reply: answer, or fail", lost[0])
	}
	return s.alive(ctx)
}

// hurried asks, with less time than usual, while the homeserver does not answer.
func (s *stage) hurried(ctx context.Context) error {
	const short = "200"
	if !s.callsBack(ctx) {
		return nil // The module does not wait for the homeserver.
	}
	s.busd.allow(ctx, s, 5*answerTime)
	s.homeserver.be(silent)
	lost := s.askAll(ctx, func(q question) question { q.header.Set(wire.HeaderTimeout, short); return q })
	s.homeserver.be(answering)
	s.busd.allow(ctx, s, answerTime)
	if len(lost) > 0 {
		return fmt.Errorf("asked with %s: %s while the homeserver does not answer it, %s got no reply within %v: end the call with the question, and fail",
			wire.HeaderTimeout, short, lost[0], answerTime)
	}
	return nil
}

// The content of a file, larger than one piece.
var fileText = bytes.Repeat([]byte("modulebus "), 20_000)

func readsFile(ctx context.Context, s *stage) error {
	read := error(skip("it is asked about no file"))
	for _, d := range s.registered() {
		f := declared.Of(d).File
		if f == nil {
			continue
		}
		q := s.question(d)
		wrapper := &callbacksv1.FileWrapper{Subject: s.homeserver.serve("file", fileText), Size: new(int64(len(fileText)))}
		req := sample(d)
		req.ProtoReflect().Set(f, protoreflect.ValueOfMessage(wrapper.ProtoReflect()))
		q.data, _ = wire.Encode(req, q.in) // A test encodes each sample.
		err := s.answered(ctx, q)
		if read = s.homeserver.readIn(); err == nil {
			err = read
		}
		if err != nil {
			return err
		}
	}
	return read
}

func pulls(ctx context.Context, s *stage) error {
	if !s.busd.last().GetPulls() {
		return skip("it does not say in its join that it pulls")
	}
	q, err := s.any()
	if err != nil {
		return err
	}
	if m, err := s.ask(ctx, q); err != nil || wire.FailureOf(m) != nil {
		return skip("it fails on the same question in one message")
	}
	q.header.Set(wire.HeaderQuestion, s.homeserver.serve("question", q.data))
	q.header.Set(wire.HeaderQuestionSize, strconv.Itoa(len(q.data)))
	q.data = wire.Elsewhere
	m, err := s.ask(ctx, q)
	if err == nil {
		err = q.acceptable(m)
	}
	if err == nil && wire.FailureOf(m) != nil {
		err = wire.FailureOf(m)
	}
	if read := s.homeserver.readIn(); read != nil && !errors.As(read, new(skip)) {
		return read
	}
	if err != nil {
		return fmt.Errorf("its join says pulls, and a question that is to be read at %s is not answered: %w", wire.HeaderQuestion, err)
	}
	return nil
}

func followUps(ctx context.Context, s *stage) error {
	followed := false
	for _, d := range s.registered() {
		if d.FollowedBy() == nil {
			continue
		}
		wanted, err := s.followUp(ctx, d)
		if err != nil {
			return fmt.Errorf("%s: %w", d.FullName(), err)
		}
		followed = followed || wanted
	}
	if !followed {
		return skip("no answer of its wants a follow-up")
	}
	return nil
}

// followUp asks, and sends the worker the follow-up that its answer wants.
func (s *stage) followUp(ctx context.Context, d *subjects.Declaration) (wanted bool, err error) {
	q := s.question(d)
	m, err := s.ask(ctx, q)
	if err != nil || wire.FailureOf(m) != nil {
		return false, err
	}
	reply := d.NewReply()
	if err := wire.Decode(m.Data, q.in, reply); err != nil {
		return false, err
	}
	view, answer := declared.Of(d), reply.ProtoReflect()
	if view.FollowIf != nil && !answer.Get(view.FollowIf).Bool() || view.FollowIf == nil && !answer.Has(view.FromWorker) {
		return false, nil
	}
	then, worker := d.FollowedBy(), s.busd.last().GetWorker()
	switch {
	case answer.Get(view.FromWorker).String() != worker:
		return true, fmt.Errorf("its answer wants a follow-up, and its %s is not the worker's name, %q", view.FromWorker.Name(), worker)
	case !slices.Contains(s.busd.last().GetCallbacks(), then.FullName()):
		return true, fmt.Errorf("its answer wants a follow-up, and its join does not register %s", then.FullName())
	}
	f := s.question(then)
	f.subject = s.server.Worker(then, moduleName, worker)
	f.data, err = wire.Encode(following(then, answer), f.in)
	if err != nil {
		return true, err
	}
	if err := s.answered(ctx, f); err != nil {
		return true, fmt.Errorf("the follow-up %s: %w", then.FullName(), err)
	}
	return true, nil
}

// following returns the request that follows up on an answer: it copies the answer's fields of the same name.
func following(d *subjects.Declaration, answer protoreflect.Message) proto.Message {
	req := sample(d)
	for _, f := range []protoreflect.Name{"worker", "token"} {
		from, to := answer.Descriptor().Fields().ByName(f), req.ProtoReflect().Descriptor().Fields().ByName(f)
		if from != nil && to != nil {
			req.ProtoReflect().Set(to, answer.Get(from))
		}
	}
	return req
}
