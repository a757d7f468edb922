package policyserver

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestMemoCallerWaitsForAPlaceOnlyAsLongAsItWants has one place, which another load has.
func TestMemoCallerWaitsForAPlaceOnlyAsLongAsItWants(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemo[string, int](9, 1, time.Minute)
		defer m.close()
		loads := func(value int, after time.Duration) load[int] {
			return func(context.Context) (int, time.Duration) {
				<-time.After(after)
				return value, time.Hour
			}
		}
		wants := func(key string, within time.Duration, f load[int], value int, want error) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			if got, err := m.do(ctx, key, f); got != value || !errors.Is(err, want) {
				t.Errorf("%s: got %d, %v; want %d, %v", key, got, err, value, want)
			}
		}
		m.begin("a", loads(1, 3*time.Second))
		synctest.Wait()
		wants("b", time.Second, loads(2, time.Second), 0, context.DeadlineExceeded)
		wants("a", time.Second, nil, 0, context.DeadlineExceeded)
		wants("b", time.Minute, nil, 2, nil) // The load went on.
		wants("a", time.Second, nil, 1, nil)
		wants("c", time.Minute, loads(3, time.Second), 3, nil)
	})
}

func TestMemoLoadsAgainAfterAPanic(t *testing.T) {
	t.Parallel()
	m := newMemo[string, int](9, 1, time.Minute)
	defer m.close()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the caller does not see the panic")
			}
		}()
		_, _ = m.do(t.Context(), "a", func(context.Context) (int, time.Duration) { panic("asked to") })
	}()
	for _, key := range []string{"a", "b"} {
		if got, err := m.do(t.Context(), key, func(context.Context) (int, time.Duration) { return 7, time.Hour }); got != 7 || err != nil {
			t.Errorf("%s: got %d, %v", key, got, err)
		}
	}
}
