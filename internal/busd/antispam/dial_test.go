package antispam

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// addresses connect as the test has them: at once, never, or late.
type addresses map[string]func(context.Context) (net.Conn, error)

func (a addresses) connect(ctx context.Context, at string) (net.Conn, error) { return a[at](ctx) }

func refuses(context.Context) (net.Conn, error) { return nil, errors.New("refused") }

func isDead(ctx context.Context) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// after connects when the time is over, even if nobody waits any more.
func after(d time.Duration, c net.Conn) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		<-time.After(d)
		return c, nil
	}
}

func TestDialTakesTheAddressThatAnswers(t *testing.T) {
	t.Parallel()
	here, _ := net.Pipe()
	for name, tt := range map[string]struct {
		at   addresses
		took time.Duration
	}{
		"the first":                 {addresses{"a": after(0, here)}, 0},
		"the first one is dead":     {addresses{"a": isDead, "b": after(0, here)}, dialPause},
		"two are dead":              {addresses{"a": isDead, "b": isDead, "c": after(0, here)}, 2 * dialPause},
		"the first one refuses":     {addresses{"a": refuses, "b": after(0, here)}, 0},
		"the first one is the last": {addresses{"a": after(2*dialPause, here), "b": isDead}, 2 * dialPause},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				conn, err := race(t.Context(), sortedKeys(tt.at), tt.at.connect)
				if conn != here || err != nil || time.Since(start) != tt.took {
					t.Errorf("got %v, %v after %v, want the connection after %v", conn, err, time.Since(start), tt.took)
				}
			})
		})
	}
}

func sortedKeys(a addresses) (keys []string) {
	for key := range a {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

func TestDialClosesAConnectionThatIsLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		late, far := net.Pipe()
		here, _ := net.Pipe()
		at := addresses{"a": after(time.Minute, late), "b": after(0, here)}
		if conn, err := race(t.Context(), []string{"a", "b"}, at.connect); conn != here || err != nil {
			t.Errorf("got %v, %v", conn, err)
		}
		if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("the late one is open: %v", err)
		}
	})
}

func TestDialFailsWithWhatEachAddressSaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		if conn, err := race(t.Context(), []string{"a", "b"}, addresses{"a": refuses, "b": refuses}.connect); conn != nil || strings.Count(err.Error(), "refused") != 2 {
			t.Errorf("got %v, %v", conn, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if conn, err := race(ctx, []string{"a", "b"}, addresses{"a": refuses, "b": isDead}.connect); conn != nil || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, %v", conn, err)
		}
	})
}
