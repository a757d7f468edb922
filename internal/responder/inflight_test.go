package responder

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// names are such that some share a list, and some requests a name.
var names = rapid.SampledFrom([]string{"", "a", "q", "a-0", "a-1", "b-0", "b-10", "a-255", "x.a-255", "x.b-255"})

// TestCancelEndsTheRequestsOfANameThatAreServed has requests begin, end, also twice, and be cancelled in any order.
func TestCancelEndsTheRequestsOfANameThatAreServed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := &Responder{options: Options{Context: t.Context()}}
		var all, served []*Request
		cancelled := map[*Request]bool{}
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) {
				q := r.Begin(names.Draw(t, "name"), 0)
				all, served = append(all, q), append(served, q)
			},
			"end": func(t *rapid.T) {
				if len(all) == 0 {
					t.Skip("none has begun")
				}
				q := rapid.SampledFrom(all).Draw(t, "request")
				q.End()
				served, cancelled[q] = slices.DeleteFunc(served, func(s *Request) bool { return s == q }), true
			},
			"cancel": func(t *rapid.T) {
				name := names.Draw(t, "name")
				r.inFlight.cancel(name)
				for _, q := range served {
					cancelled[q] = cancelled[q] || name != "" && q.name == name
				}
			},
			"": func(t *rapid.T) {
				for _, q := range all {
					if (q.Err() != nil) != cancelled[q] {
						t.Fatalf("of %q: %v, want that it has ended: %v", q.name, q.Err(), cancelled[q])
					}
				}
				if listed, want := r.inFlight.count(), len(served)-count(served, ""); listed != want {
					t.Fatalf("%d are listed, want %d", listed, want)
				}
			},
		})
		for _, q := range all {
			q.End()
		}
	})
}

func count(requests []*Request, name string) (n int) {
	for _, q := range requests {
		if q.name == name {
			n++
		}
	}
	return n
}

func (f *inFlight) count() (listed int) {
	for i := range f.shards {
		for q := f.shards[i].first; q != nil; q = q.next {
			listed++
		}
	}
	return listed
}
