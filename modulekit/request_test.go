package modulekit

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

func TestARequestIsAContextWithADeadline(t *testing.T) {
	t.Parallel()
	type key struct{}
	for name, tt := range map[string]struct {
		end  func(r *request, cancelParent func())
		want error
	}{
		"time runs out":         {func(*request, func()) {}, context.DeadlineExceeded},
		"the request ends":      {func(r *request, _ func()) { r.end() }, context.Canceled},
		"twice":                 {func(r *request, _ func()) { r.end(); r.end() }, context.Canceled},
		"the module is stopped": {func(_ *request, cancel func()) { cancel() }, context.Canceled},
	} {
		for _, waited := range []bool{false, true} { // before it ends, or only afterwards
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
					defer cancel()
					r := newRequest(parent, time.Second)
					defer r.end()
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

func TestWhatIsDerivedFromARequestEndsWithIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRequest(t.Context(), time.Second)
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
		r.end()
		<-derived.Done()
		if err := derived.Err(); err != context.Canceled {
			t.Errorf("got %v", err)
		}
	})
}
