package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modulebus/modulebus/modulekit"
	cb "github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Each round, so many users send so many messages each, at the same time.
const senders, messages = 8, 25

// reader is a module that is asked about each event, and has no opinion.
func reader(asked *atomic.Int64) modulekit.Module[struct{}] {
	return modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
			CheckEventForSpam: func(context.Context, *cb.CheckEventForSpamRequest) (*cb.CheckEventForSpamResponse, error) {
				asked.Add(1)
				return nil, nil
			},
		})
		return nil
	}}
}

// BenchmarkMessages reports how many messages per second two Dendrites take: one without modules, and one with a module that is
// asked about each event. Rounds alternate, and each is first every other time, so that both have the same machine.
func BenchmarkMessages(b *testing.B) {
	var asked atomic.Int64
	with, without := crowd(found(b, gated, reader(&asked))), crowd(found(b, "  []\n", reader(&asked)))
	with[0].user.knows(subjects.CheckEventForSpam)
	round(b, with)
	round(b, without)
	var slow, fast time.Duration
	var ratios []float64
	asked.Store(0)
	for i := 0; b.Loop(); i++ {
		var s, f time.Duration
		if i%2 == 0 {
			s, f = round(b, with), round(b, without)
		} else {
			f, s = round(b, without), round(b, with)
		}
		slow, fast, ratios = slow+s, fast+f, append(ratios, f.Seconds()/s.Seconds())
	}
	sent := float64(senders * messages * b.N)
	if float64(asked.Load()) != sent {
		b.Errorf("the module was asked about %d events of %v", asked.Load(), sent)
	}
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
	room string
}

func crowd(s *site) (all []sender) {
	s.Helper()
	for i := range senders {
		u := s.register(fmt.Sprintf("sender%d", i))
		all = append(all, sender{u, u.createRoom(fields{})})
	}
	return all
}

func round(b *testing.B, all []sender) time.Duration {
	b.Helper()
	begin := time.Now()
	var sending sync.WaitGroup
	for _, s := range all {
		sending.Go(func() {
			for range messages {
				if status, answer := s.user.message(s.room, "hello"); status != 200 {
					b.Errorf("%d %v", status, answer)
				}
			}
		})
	}
	sending.Wait()
	return time.Since(begin)
}
