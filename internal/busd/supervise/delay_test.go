package supervise

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

var usual = delays{first: 100 * time.Millisecond, most: 30 * time.Second, steady: 30 * time.Second}

func TestDelays(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		crashes int
		up      time.Duration
		spread  float64
		want    time.Duration
		next    int
	}{
		"the first, at least":             {0, 0, 0, 50 * time.Millisecond, 1},
		"the first, at most":              {0, 0, 1, 100 * time.Millisecond, 1},
		"the second":                      {1, 0, 1, 200 * time.Millisecond, 2},
		"the fifth":                       {4, 0, 1, 1600 * time.Millisecond, 5},
		"the last that doubles":           {8, 0, 1, 25600 * time.Millisecond, 9},
		"no more than the most":           {9, 0, 1, 30 * time.Second, 10},
		"for ever":                        {1 << 40, 0, 1, 30 * time.Second, 1<<40 + 1},
		"almost steady":                   {9, 30*time.Second - 1, 1, 30 * time.Second, 10},
		"steady: as if it were the first": {9, 30 * time.Second, 1, 100 * time.Millisecond, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, next := usual.after(tt.crashes, tt.up, tt.spread)
			if got != tt.want || next != tt.next {
				t.Errorf("got %v, %d; want %v, %d", got, next, tt.want, tt.next)
			}
		})
	}
}

// Whatever the luck, a restart waits no less than the one before it could, and stays in bounds.
func TestDelaysGrowWithinBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := delays{
			first:  time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "first")),
			most:   time.Duration(rapid.Int64Range(1, 1<<62).Draw(t, "most")),
			steady: time.Second,
		}
		n := rapid.IntRange(0, 100).Draw(t, "crashes")
		got, next := d.after(n, 0, rapid.Float64Range(0, 1).Draw(t, "spread"))
		if got < d.base(n)/2 || got > d.base(n) || got > d.most || next != n+1 || d.base(n+1) < d.base(n) {
			t.Errorf("got %v, %d after %d crashes of %+v", got, next, n, d)
		}
	})
}
