package natsrequest

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/nats-io/nats.go"
)

// Five modules have answers of which all are being read, and a sixth has little that is unread: what one of the five sends costs the sixth nothing.
func TestModuleThatSendsLittleLosesNothingToOneWhoseAnswersAreBeingRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		next := map[string]chan struct{}{}
		var little []int
		b := newMailboxes(func(_ *mailbox, m *nats.Msg) {
			if m.Subject == "little" {
				little = append(little, len(m.Data))
			}
			<-next[m.Subject]
		}, func() map[string]bool {
			return map[string]bool{"a": true, "b": true, "c": true, "d": true, "e": true, "little": true}
		})
		put := func(subject string, size int) {
			b.put(&nats.Msg{Subject: subject, Data: make([]byte, size)})
			synctest.Wait()
		}
		for _, subject := range []string{"a", "b", "c", "d", "e"} {
			next[subject] = make(chan struct{})
			b.open(subject)
			put(subject, 1)
			put(subject, maxUnreadTogether/5-2*aroundAnswers)
			next[subject] <- struct{}{}
			synctest.Wait()
		}
		next["little"] = make(chan struct{})
		b.open("little")
		put("little", 1)
		put("little", 2)
		put("a", 1<<20)
		for _, c := range next {
			close(c)
		}
		b.close()
		if want := []int{1, 2}; !slices.Equal(little, want) {
			t.Errorf("answers of %v bytes were read of the module that sends little, not of %v", little, want)
		}
	})
}
