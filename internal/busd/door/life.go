package door

import (
	"context"
	"net/http"
	"time"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/matrix"
)

// Life tells doors whether busd is starting, serving or draining. Its methods may be called concurrently. See
// [NewLife].
type Life struct{ begun, draining Phase }

// Phase is a context that ends when the phase begins.
type Phase struct {
	context.Context //nolint:containedctx // It belongs to busd's life, not to a call.
	begin           context.CancelFunc
}

// NewPhase returns a phase that has not begun.
func NewPhase() Phase {
	ctx, cancel := context.WithCancel(context.Background())
	return Phase{ctx, cancel}
}

// Begin begins the phase. It may be called again.
func (p Phase) Begin() { p.begin() }

// NewLife returns the life of a busd that is starting.
func NewLife() *Life { return &Life{NewPhase(), NewPhase()} }

// Begin says that it is known what modules want to be asked: from now on, asks are answered.
func (l *Life) Begin() { l.begun.Begin() }

// Drain says that busd is about to end: from now on, new asks are turned away.
func (l *Life) Drain() { l.draining.Begin() }

// Begun reports whether Begin has been called.
func (l *Life) Begun() bool { return l.begun.Err() != nil }

// Draining reports whether Drain has been called.
func (l *Life) Draining() bool { return l.draining.Err() != nil }

// beginTime is how long a request waits for a busd that is starting. Beyond: answered 503.
const beginTime = 500 * time.Millisecond

// AwaitBegin waits until busd has begun, at most [beginTime], and reports whether it has.
func (l *Life) AwaitBegin(ctx context.Context) bool {
	return l.AwaitBeginUntil(Until{ctx, time.Now().Add(beginTime)})
}

// AwaitBeginUntil waits until busd has begun or end is over, and reports whether it has begun.
func (l *Life) AwaitBeginUntil(end Until) bool {
	if l.Begun() {
		return true
	}
	ctx, cancel := context.WithDeadline(end.Context, end.Time)
	defer cancel()
	select {
	case <-l.begun.Done():
	case <-l.draining.Done():
	case <-ctx.Done():
	}
	return l.Begun()
}

// Until is a context that has a deadline but no timer, for an ask, which has its own timer. With
// [context.WithDeadline], many asks at a time would be slow, because each would register with the one context that ends
// when busd closes.
type Until struct {
	context.Context           //nolint:containedctx // It is a context.
	Time            time.Time // when it ends
}

// Deadline implements [context.Context].
func (u Until) Deadline() (time.Time, bool) { return u.Time, true }

// UntilDrain returns a context that ends with ctx or when draining begins, for requests that only wait for news.
func (l *Life) UntilDrain(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.draining, cancel)
	return ctx, func() { stop(); cancel() }
}

// Wait returns the context of a request that waits for something. It lasts as long as the request's query says, by
// default unsaid, and at most most; it also ends when busd drains. Release must be called, unless there is a problem.
func (l *Life) Wait(r *http.Request, unsaid, most time.Duration) (ctx context.Context, release func(), _ *Problem) {
	wait, p := waitOf(r, unsaid, most)
	if p != nil {
		return nil, nil, p
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	ctx, undo := l.UntilDrain(ctx)
	return ctx, func() { undo(); cancel() }, nil
}

// waitOf is how long the caller wants to wait.
func waitOf(r *http.Request, unsaid, most time.Duration) (time.Duration, *Problem) {
	text := r.URL.Query().Get("wait")
	if text == "" {
		return unsaid, nil
	}
	wait, err := config.ParseDuration(text)
	if err != nil || wait < 0 {
		return 0, NewProblem(http.StatusBadRequest, matrix.InvalidParam, "wait is not a duration (try 25s)")
	}
	return min(wait, most), nil
}
