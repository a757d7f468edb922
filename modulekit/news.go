package modulekit

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/internal/wire"
)

// NewsID returns the name of the news that a callback is called with, where the operator has news delivered at least
// once. The same news has the same name each time that it is delivered, and no other news has that name. A module that
// must not act twice remembers the name. It is empty if news is delivered at most once, and in callbacks that decide
// something. The context must be the callback's.
func NewsID(ctx context.Context) string { return kitopts.News(ctx) }

// withNews puts the name of the news into a question's context.
func withNews(ctx context.Context, m *nats.Msg) context.Context {
	if id := wire.Header(m, wire.HeaderNews); id != "" {
		return kitopts.WithNews(ctx, id)
	}
	return ctx
}
