package rosterwire_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// roster has about that many bytes.
func roster(revision uint64, bytes int) *rosterv1.Roster {
	r := &rosterv1.Roster{Revision: revision, BudgetMs: 5000}
	for i := range bytes / 100 {
		r.Modules = append(r.Modules, &rosterv1.Module{Name: fmt.Sprintf("%d-%s", i, strings.Repeat("x", 90))})
	}
	return r
}

func messages(t interface{ Fatal(...any) }, r *rosterv1.Roster, limit int, sender string) [][]byte {
	all, err := rosterwire.Messages(r, limit, sender)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRosterIsTheSameAfterTheWire(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := roster(rapid.Uint64().Draw(t, "revision"), rapid.IntRange(0, 20_000).Draw(t, "bytes"))
		limit := rapid.IntRange(1000, 20_000).Draw(t, "limit")
		var a rosterwire.Assembler
		all := messages(t, r, limit, "busd")
		for i, data := range all {
			if len(data) > limit {
				t.Fatalf("message %d has %d bytes, and %d are allowed", i, len(data), limit)
			}
			got, err := a.Add(data)
			if err != nil || (got != nil) != (i == len(all)-1) {
				t.Fatalf("message %d of %d gave %v, %v", i, len(all), got, err)
			}
			if got != nil && !proto.Equal(got, r) {
				t.Fatal("another roster came out")
			}
		}
	})
}

func TestSmallRosterIsOneMessageAsItWasBeforeThereWereParts(t *testing.T) {
	t.Parallel()
	r, got := roster(5, 300), &rosterv1.Roster{}
	all := messages(t, r, 1<<20, "busd")
	if err := proto.Unmarshal(all[0], got); len(all) != 1 || err != nil || !proto.Equal(r, got) {
		t.Errorf("%d messages, the first with %v, %v", len(all), got, err)
	}
}

func TestPartIsNoRosterForAReaderThatKnowsNoParts(t *testing.T) {
	t.Parallel()
	for _, data := range messages(t, roster(5, 5000), 1000, "busd") {
		r := &rosterv1.Roster{}
		if err := proto.Unmarshal(data, r); err != nil || r.GetRevision() != 0 || len(r.GetModules()) > 0 {
			t.Errorf("a part reads as the roster %v, %v", r, err)
		}
	}
}

func TestPartsOfSeveralSendersDoNotMix(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		senders := map[string]*rosterv1.Roster{"one": roster(1, 5000), "two": roster(2, 6000), "three": roster(3, 300)}
		queues := map[string][][]byte{}
		for name, r := range senders {
			queues[name] = messages(t, r, 1000, name)
		}
		var a rosterwire.Assembler
		came := map[uint64]bool{}
		for len(queues) > 0 {
			var names []string
			for _, name := range []string{"one", "two", "three"} {
				if len(queues[name]) > 0 {
					names = append(names, name)
				}
			}
			name := rapid.SampledFrom(names).Draw(t, "who")
			got, err := a.Add(queues[name][0])
			if err != nil {
				t.Fatal(err)
			}
			if queues[name] = queues[name][1:]; len(queues[name]) == 0 {
				delete(queues, name)
			}
			if got != nil {
				came[got.GetRevision()] = proto.Equal(got, senders[name])
			}
		}
		if !came[1] || !came[2] || !came[3] {
			t.Fatalf("came whole: %v", came)
		}
	})
}

func TestLostPartGivesUpItsRosterAndNotTheNext(t *testing.T) {
	t.Parallel()
	var a rosterwire.Assembler
	first, second := messages(t, roster(1, 3000), 1000, "busd"), messages(t, roster(2, 3000), 1000, "busd")
	_, _ = a.Add(first[0]) // What is wrong comes later.
	if got, err := a.Add(first[2]); got != nil || !errors.Is(err, rosterwire.ErrParts) {
		t.Errorf("a roster with a hole is %v, %v", got, err)
	}
	var last *rosterv1.Roster
	for _, data := range second {
		r, err := a.Add(data)
		if err != nil {
			t.Fatal(err)
		}
		last = r
	}
	if last.GetRevision() != 2 {
		t.Errorf("the next roster is %v", last)
	}
}

func TestPartsThatNeverEndAreNotKept(t *testing.T) {
	t.Parallel()
	var a rosterwire.Assembler
	data := make([]byte, 1<<20)
	refused := false
	for i := uint32(0); i < 100 && !refused; i++ {
		part, err := proto.Marshal(&rosterv1.Roster{Part: &rosterv1.Part{Revision: 1, Sender: "x", Index: i, Count: 1 << 30, Data: data}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Add(part)
		refused = errors.Is(err, rosterwire.ErrParts)
	}
	if !refused {
		t.Error("a hundred MiB of a roster without an end were taken")
	}
}

func TestRosterTooLargeForItsMessagesIsAnError(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{100, 300} {
		if all, err := rosterwire.Messages(roster(1, 1<<20), limit, "busd"); err == nil {
			t.Errorf("%d messages of %d bytes", len(all), limit)
		}
	}
}

func TestRevisionFromTheFutureIsNotPlausible(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	for ahead, want := range map[time.Duration]bool{-time.Hour: true, 0: true, time.Minute: true, time.Hour: false} {
		if got := rosterwire.Plausible(uint64(now.Add(ahead).UnixMilli()), now); got != want {
			t.Errorf("%v ahead: %v", ahead, got)
		}
	}
	if rosterwire.Plausible(1<<63, now) {
		t.Error("the end of time is plausible")
	}
}

// answering answers questions on the subject with these rosters, each from another busd.
func answering(t *testing.T, home *natstest.Home, limit int, all ...*rosterv1.Roster) {
	t.Helper()
	for i, r := range all {
		nc := natstest.Connect(t, home)
		_, err := nc.Subscribe("roster", func(m *nats.Msg) {
			for _, data := range messages(t, r, limit, fmt.Sprint("busd-", i)) {
				_ = m.Respond(data) // The test says when nothing comes.
			}
		})
		if err == nil {
			err = nc.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestFetchPrefersWhatCanHaveBeenMade(t *testing.T) {
	t.Parallel()
	now := uint64(time.Now().UnixMilli())
	far := now + uint64(24*time.Hour/time.Millisecond)
	for name, row := range map[string]struct {
		have    uint64
		answers []*rosterv1.Roster
		want    uint64
	}{
		"one busd, in parts":                {0, []*rosterv1.Roster{roster(now, 5000)}, now},
		"one that starts, one that knows":   {0, []*rosterv1.Roster{{}, roster(now, 300)}, now},
		"one from the future, one from now": {0, []*rosterv1.Roster{roster(far, 300), roster(now, 300)}, now},
		"the only one, from the future":     {0, []*rosterv1.Roster{roster(far, 300)}, far},
		"nothing later":                     {now, []*rosterv1.Roster{roster(now, 300)}, 0},
		"all of them start":                 {0, []*rosterv1.Roster{{}, {}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := natstest.InProcess(t)
			answering(t, home, 1000, row.answers...)
			got, err := rosterwire.Fetch(t.Context(), natstest.Connect(t, home), "roster", row.have)
			if err != nil || got.GetRevision() != row.want {
				t.Errorf("revision %d, %v, want %d", got.GetRevision(), err, row.want)
			}
		})
	}
}

func TestFetchSaysThatNobodyKeepsTheRoster(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.InProcess(t))
	if _, err := rosterwire.Fetch(t.Context(), nc, "roster", 0); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := nc.SubscribeSync("roster"); err != nil {
		t.Fatal(err)
	}
	if _, err := rosterwire.Fetch(ctx, nc, "roster", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
