package news

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/internal/busd/store"
)

// maxBacklog bounds the pieces of news that are stored for one module. Beyond: new news is not stored, and the ask
// fails under the module's policy.
const maxBacklog = 10_000_000

// open makes the stream of a module's news if it does not exist. Nothing in it is ever removed to make room.
func (s *Service) open(ctx context.Context, module string) (jetstream.Stream, error) {
	c := jetstream.StreamConfig{
		Name: s.server.NewsStream(module), Subjects: []string{s.server.NewsAny(module)}, Description: "news of modulebus module " + module,
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, MaxMsgs: maxBacklog,
	}
	stream, err := s.js.Stream(ctx, c.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = s.replicated(func(replicas int) (err error) {
			c.Replicas = replicas
			stream, err = s.js.CreateStream(ctx, c)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("module %s: %s", module, problemOf(err))
	}
	if wrong := foreign(stream.CachedInfo().Config, c); wrong != "" {
		return nil, fmt.Errorf("module %s: the JetStream stream %s is somebody else's: its %s (remove it, if nobody needs it)", module, c.Name, wrong)
	}
	return stream, nil
}

// replicated calls create with the operator's number of servers, or with three or one.
func (s *Service) replicated(create func(replicas int) error) error {
	if s.Replicas != 0 {
		return create(s.Replicas)
	}
	return store.Replicated(create)
}

// foreign says what shows that busd did not make a stream; empty if nothing does.
func foreign(is, want jetstream.StreamConfig) string {
	switch {
	case !slices.Equal(is.Subjects, want.Subjects):
		return fmt.Sprintf("subjects are %q and not %q", is.Subjects, want.Subjects)
	case is.Retention != want.Retention:
		return fmt.Sprintf("retention is %v and not %v", is.Retention, want.Retention)
	case is.Discard != want.Discard:
		return fmt.Sprintf("discard policy is %v and not %v", is.Discard, want.Discard)
	case is.MaxAge != 0:
		return "messages are removed when they are old"
	}
	return ""
}

// problemOf says what an operator can do about an error of JetStream.
func problemOf(err error) string {
	switch {
	case store.Disabled(err):
		return "deliver: at_least_once needs JetStream, and this NATS does not have it (enable JetStream there, or remove deliver)"
	case store.TooFewServers(err):
		return "the cluster has fewer servers with JetStream than nats.replicas says: " + err.Error()
	}
	return "JetStream cannot keep its news: " + err.Error()
}
