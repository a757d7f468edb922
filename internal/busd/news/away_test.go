package news_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/modulebus/modulebus/internal/busd/config"
)

// variable says in how many hours of absence the module is told, in a process of the test's own.
const variable = "MODULEBUS_AWAY"

// TestNewsReachesAModuleThatWasAwayForHours has JetStream, its files, busd and the module live through hours, by a clock that jumps to
// what happens next: an hour, or a day where make news says so. It has a process of its own, because nats.go keeps timers for
// the next goroutine that needs one, and timers of a bubble may not leave it.
func TestNewsReachesAModuleThatWasAwayForHours(t *testing.T) {
	t.Parallel()
	hours := "1"
	if os.Getenv("MODULEBUS_NEWS") != "" {
		hours = "24"
	}
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNewsWaitsForHours$", "-test.v")
	c.Env = append(os.Environ(), variable+"="+hours)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func TestNewsWaitsForHours(t *testing.T) {
	t.Parallel()
	var hours int
	if _, err := fmt.Sscan(os.Getenv(variable), &hours); err != nil {
		return // The test above is in another process.
	}
	synctest.Test(t, func(t *testing.T) { tellLater(t, hours) })
}

// tellLater stores news each hour, and then has somebody handle it.
func tellLater(t *testing.T, hours int) {
	t.Helper()
	s := stageOn(t, &server.Options{DontListen: true})
	service := s.busd(archive(func(m *config.Module) { m.DeliverFor = 7 * 24 * time.Hour }))
	const users, each = 8, 20
	began := time.Now()
	for n := range hours * each {
		for u := range users {
			s.store(user(u), n)
		}
		<-time.After(time.Hour / each) // Of the bubble.
	}
	all := uint64(users * each * hours)
	if b := service.Backlogs()["archive"]; b.News != all || b.Oldest.Sub(began) > time.Minute || b.Failure == "" {
		t.Errorf("after %v the backlog is %+v", time.Since(began), b)
	}
	m := s.module(nil)
	s.until("all is told", s.drained)
	for u := range users {
		if got := m.names(user(u)); !slices.Equal(got, counted(hours*each)) {
			t.Errorf("%s is told of in this order: %v", user(u), got)
		}
	}
	b := service.Backlogs()["archive"]
	if b.Handled != all || b.GivenUp != 0 {
		t.Errorf("at the end: %+v", b)
	}
	t.Logf("after %v, %d pieces handled, %d given up", time.Since(began), b.Handled, b.GivenUp)
}

func user(n int) string { return fmt.Sprintf("@user%d:example.com", n) }
