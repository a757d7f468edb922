package responder

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// begin begins a request that may take a second, of a responder whose context is ctx.
func begin(ctx context.Context) *Request {
	r := Responder{options: Options{Context: ctx}}
	return r.Begin("", time.Second)
}

func TestRequestIsAContextWithADeadline(t *testing.T) {
	t.Parallel()
	type key struct{}
	for name, tt := range map[string]struct {
		end  func(r *Request, cancelParent func())
		want error
	}{
		"time runs out":         {func(*Request, func()) {}, context.DeadlineExceeded},
		"the request ends":      {func(r *Request, _ func()) { r.End() }, context.Canceled},
		"twice":                 {func(r *Request, _ func()) { r.End(); r.End() }, context.Canceled},
		"the module is stopped": {func(_ *Request, cancel func()) { cancel() }, context.Canceled},
	} {
		for _, waited := range []bool{false, true} { // before it ends, or only afterwards
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
					defer cancel()
					r := begin(parent)
					defer r.End()
					if deadline, ok := r.Deadline(); !ok || time.Until(deadline) != time.Second {
						t.Errorf("deadline in %v", time.Until(deadline))
					}
					if waited && r.Err() != nil {
						t.Errorf("ended before it began: %v", r.Err())
					}
					tt.end(r, cancel)
					<-r.Done()
					if r.Err() != tt.want || r.Value(key{}) != "value" {
						t.Errorf("got %v, value %v; want %v", r.Err(), r.Value(key{}), tt.want)
					}
				})
			})
		}
	}
}

func TestContextDerivedFromARequestEndsWithIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := begin(t.Context())
		derived, cancel := context.WithTimeout(r, time.Hour)
		defer cancel()
		before := runtime.NumGoroutine()
		for range 100 {
			_, cancel := context.WithCancel(r) // Package context knows what r is, and starts no goroutine to watch it.
			defer cancel()
		}
		if after := runtime.NumGoroutine(); after-before >= 100 {
			t.Errorf("%d goroutines, %d before", after, before)
		}
		r.End()
		<-derived.Done()
		if err := derived.Err(); err != context.Canceled {
			t.Errorf("got %v", err)
		}
	})
}
