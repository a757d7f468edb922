package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/modulebus/modulebus/modulekit"
	cb "github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
	"maunium.net/go/mautrix"
	mid "maunium.net/go/mautrix/id"
)

// Each round, so many users send so many messages each, at the same time.
const senders, messages = 8, 25

// reader is a module that is asked about each event, notes which one it was, and has no opinion.
func reader(asked *sync.Map) modulekit.Module[struct{}] {
	return modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
			CheckEventForSpam: func(_ context.Context, r *cb.CheckEventForSpamRequest) (*cb.CheckEventForSpamResponse, error) {
				asked.Store(r.GetEvent().GetEventId(), true)
				return nil, nil
			},
		})
		return nil
	}}
}

// BenchmarkMessages reports how many messages per second two Dendrites take: one without modules, and one with a module that is
// asked about each event. Rounds alternate, and each is first every other time, so that both have the same machine. No event is
// taken that the module was not asked about.
func BenchmarkMessages(b *testing.B) {
	var asked, taken sync.Map
	with, without := crowd(found(b, gated, reader(&asked))), crowd(found(b, "  []\n", reader(&asked)))
	with[0].user.knows(subjects.CheckEventForSpam)
	round(b, with, &taken)
	round(b, without, &sync.Map{})
	var slow, fast time.Duration
	var ratios []float64
	for i := 0; b.Loop(); i++ {
		var s, f time.Duration
		if i%2 == 0 {
			s, f = round(b, with, &taken), round(b, without, &sync.Map{})
		} else {
			f, s = round(b, without, &sync.Map{}), round(b, with, &taken)
		}
		slow, fast, ratios = slow+s, fast+f, append(ratios, f.Seconds()/s.Seconds())
	}
	sent := float64(senders * messages * b.N)
	taken.Range(func(event, _ any) bool {
		if _, was := asked.Load(event); !was {
			b.Errorf("%v was taken, and the module was not asked about it", event)
		}
		return true
	})
	b.ReportMetric(sent/slow.Seconds(), "msg/s-with")
	b.ReportMetric(sent/fast.Seconds(), "msg/s-without")
	slices.Sort(ratios)
	for name, quarters := range map[string]int{"ratio-lower": 1, "ratio": 2, "ratio-upper": 3} {
		b.ReportMetric(ratios[(len(ratios)-1)*quarters/4], name)
	}
}

// sender is a user in a room of their own.
type sender struct {
	user user
	room mid.RoomID
}

func crowd(s *site) (all []sender) {
	s.Helper()
	for i := range senders {
		u := s.register(fmt.Sprintf("sender%d", i))
		all = append(all, sender{u, u.createRoom(mautrix.ReqCreateRoom{})})
	}
	return all
}

// round notes which events were taken.
func round(b *testing.B, all []sender, taken *sync.Map) time.Duration {
	b.Helper()
	begin := time.Now()
	var sending sync.WaitGroup
	for _, s := range all {
		sending.Go(func() {
			for range messages {
				status, answer := s.user.message(s.room, "hello")
				if status != 200 {
					b.Errorf("%d %v", status, answer)
					continue
				}
				taken.Store(answer["event_id"], true)
			}
		})
	}
	sending.Wait()
	return time.Since(begin)
}
