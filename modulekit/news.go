package modulekit

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/wire"
)

type newsKey struct{}

// NewsID names what a callback that only tells is told, where the operator has it delivered at least once: a piece of news has the
// same name each time that it is told, and no other has it. A module that must not do a thing twice remembers it. It is empty
// where news is told at most once, and in callbacks that decide. The context is the callback's.
func NewsID(ctx context.Context) string {
	id, _ := ctx.Value(newsKey{}).(string)
	return id
}

// withNews gives a question's context the name that the question has.
func withNews(ctx context.Context, m *nats.Msg) context.Context {
	if id := wire.Header(m, wire.HeaderNews); id != "" {
		return context.WithValue(ctx, newsKey{}, id)
	}
	return ctx
}
