package modulekit

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/subjects"
)

// follow waits for one kind of follow-up, so that the module always hears the end of what it answered: from the
// homeserver, or, if the homeserver says nothing in time, from follow. A nil follow does nothing.
type follow struct {
	api *ModuleAPI
	up  handler

	mu      sync.Mutex
	pending map[string]*time.Timer // by token
	closed  bool
}

// linkFollowUps gives each callback and its follow-up a common follow, if the module registered both.
func (api *ModuleAPI) linkFollowUps() {
	follows := map[*subjects.Declaration]*follow{}
	for d, h := range api.handlers {
		up := api.handlers[d.FollowedBy()]
		if up.call == nil {
			continue
		}
		if follows[up.callback] == nil {
			follows[up.callback] = &follow{api: api, up: up, pending: map[string]*time.Timer{}}
		}
		h.follow = follows[up.callback]
		api.handlers[d] = h
	}
	for d, f := range follows {
		up := api.handlers[d]
		up.follow = f
		api.handlers[d] = up
	}
}

// stopFollowUps ends all waiting, because the worker ends. A follow-up that the module is being told already goes on.
func (api *ModuleAPI) stopFollowUps() {
	for _, h := range api.handlers {
		h.follow.close()
	}
}

// teller calls tell when the module has room for it, or calls refused, which must not block.
type teller func(tell func(context.Context), refused func())

// tellAtOnce is the teller of a module that is not connected to a bus.
func tellAtOnce(tell func(context.Context), _ func()) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tell(ctx)
}

const (
	// maxPending is how many follow-ups of one kind a worker waits for. Beyond: one that never arrives is not reported as
	// lost.
	maxPending = 4096

	patience = 10 * time.Second       // for the module to handle a lost follow-up
	tryAgain = 100 * time.Millisecond // until a busy module is told again
)

// adoptFollowUps waits for the follow-ups that the previous instance waited for. They come to this instance from now
// on.
func (api *ModuleAPI) adoptFollowUps(old *ModuleAPI) {
	for _, h := range old.handlers {
		for _, token := range h.follow.close() {
			api.handlers[h.follow.up.callback].follow.wait(token)
		}
	}
}

// close ends all waiting, and returns the tokens that were waited for.
func (f *follow) close() (tokens []string) {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for token, timer := range f.pending {
		timer.Stop()
		delete(f.pending, token)
		tokens = append(tokens, token)
	}
	return tokens
}

// expect returns the answer with the token and the worker that the follow-up must name, and begins to wait for the
// follow-up. The module may give the same answer many times, so the answer is copied, not changed.
func (f *follow) expect(callback *subjects.Declaration, answer proto.Message) proto.Message {
	d := declared.Of(callback)
	if f == nil || d.FromWorker == nil || answer == nil || !answer.ProtoReflect().IsValid() || proto.Size(answer) == 0 {
		return answer
	}
	if d.FollowIf != nil && !answer.ProtoReflect().Get(d.FollowIf).Bool() {
		return answer
	}
	m := proto.Clone(answer).ProtoReflect()
	m.Set(d.FromWorker, protoreflect.ValueOfString(f.api.Worker()))
	token := tokenOf(d.ReplyFields)
	if !m.Has(token) {
		m.Set(token, protoreflect.ValueOfString(rand.Text()))
	}
	f.wait(m.Get(token).String())
	return m.Interface()
}

func (f *follow) wait(token string) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(f.pending) >= maxPending {
		return
	}
	if before := f.pending[token]; before != nil { // The module chose the token, and has used it before.
		before.Stop()
	}
	within := time.Duration(f.up.callback.Options.GetWithinMs()) * time.Millisecond
	f.pending[token] = time.AfterFunc(within, func() { f.lost(token) })
}

// arrived ends the wait for a follow-up.
func (f *follow) arrived(d *subjects.Declaration, req proto.Message) {
	if f == nil || d != f.up.callback {
		return
	}
	f.take(req.ProtoReflect().Get(tokenOf(declared.Of(d).RequestFields)).String())
}

func (f *follow) take(token string) (waiting bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	timer, waiting := f.pending[token]
	if waiting {
		timer.Stop()
		delete(f.pending, token)
	}
	return waiting
}

// lost tells the module that a follow-up did not come. A busy module is told later.
func (f *follow) lost(token string) {
	if f.take(token) {
		f.api.tell(func(ctx context.Context) { f.report(ctx, token) }, func() { f.later(token) })
	}
}

// later calls lost again after tryAgain.
func (f *follow) later(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.pending[token] = time.AfterFunc(tryAgain, func() { f.lost(token) })
	}
}

// report tells the module. What it answers does not matter.
func (f *follow) report(ctx context.Context, token string) {
	d := f.up.callback
	req := d.NewRequest()
	m := req.ProtoReflect()
	m.Set(tokenOf(m.Descriptor().Fields()), protoreflect.ValueOfString(token))
	if lost := m.Descriptor().Fields().ByName("lost"); lost != nil {
		m.Set(lost, protoreflect.ValueOfBool(true))
	}
	_, _ = f.up.answer(ctx, req, f.api.Log())
}

func tokenOf(fields protoreflect.FieldDescriptors) protoreflect.FieldDescriptor {
	return fields.ByName("token")
}
