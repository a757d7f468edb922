package roster

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

const (
	askOthersEvery = 5 * time.Second // between questions which other busd there are
	othersTime     = time.Second     // for their answers

	// maxOthers is how many other busd are counted. Beyond: they are not.
	maxOthers = 256
)

// Others are the other busd of the homeserver that answer on this NATS. If one has another list, the operator has made
// a mistake, or a change of the file has not reached all of them yet: homeservers use the roster that was published
// last. See ADR 35.
type Others struct {
	Same      int       // how many have the same list
	Differing []string  // those with another list, by name, in order
	Since     time.Time // since when some differ
}

// Others returns which other busd there are, as of a few seconds ago.
func (r *Roster) Others() Others {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.others
}

// met records which other busd answered, with the revisions of their lists by name. It returns the result, and whether
// the set of differing busd has changed.
func (r *Roster) met(lists map[string]uint64, now time.Time) (is Others, news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, list := range lists {
		if list == r.list {
			is.Same++
		} else {
			is.Differing = append(is.Differing, name)
		}
	}
	slices.Sort(is.Differing)
	if len(is.Differing) > 0 {
		if is.Since = r.others.Since; is.Since.IsZero() {
			is.Since = now
		}
	}
	news = !slices.Equal(is.Differing, r.others.Differing)
	r.others = is
	return is, news
}

// listRevision is a hash of the list, the same on every busd of one version. It leaves out what may differ between
// them, such as how each runs its processes.
func listRevision(modules []config.Module, budget time.Duration, sequential []string) uint64 {
	h := sha256.New()
	e := json.NewEncoder(h)
	_ = e.Encode([]any{budget, sequential}) // A hash accepts everything.
	for _, m := range modules {
		m.Run, m.Workers, m.Environment, m.Antispam.TokenFile = nil, 0, nil, ""
		_ = e.Encode(m) //nolint:musttag // Only the hash reads it.
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

// newName makes a unique name for this busd, which contains the name of its machine.
func newName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	const distinct = 8
	return host + "/" + rand.Text()[:distinct]
}

// everything is the revision in a request that only asks which other busd there are.
const everything = math.MaxUint64

// card is this busd's answer to such a request: its name and its list's revision.
func (s *Service) card() *rosterv1.Roster {
	s.roster.mu.Lock()
	defer s.roster.mu.Unlock()
	return &rosterv1.Roster{Busd: s.name, List: s.roster.list}
}

// meet asks regularly which other busd there are, until ctx ends.
func (s *Service) meet(ctx context.Context) {
	ticker := time.NewTicker(askOthersEvery)
	defer ticker.Stop()
	for {
		if lists, err := s.askOthers(ctx); err == nil {
			s.report(s.roster.met(lists, time.Now()))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// report logs what has changed.
func (s *Service) report(is Others, news bool) {
	switch {
	case !news:
	case len(is.Differing) > 0:
		s.log.Warn().Strs("busd", is.Differing).Msg("other busd on this NATS have another list of modules: homeservers go by the one that " +
			"was told last; give all of them the same file")
	default:
		s.log.Info().Msg("all busd on this NATS have the same list of modules")
	}
}

// askOthers returns the lists of the other busd that answer, by name. A homeserver never asks with the revision
// everything.
func (s *Service) askOthers(ctx context.Context) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, othersTime)
	defer cancel()
	inbox, answers := s.nc.NewInbox(), make(chan *nats.Msg, maxOthers) // A SubscribeSync has half a megabyte of room.
	sub, err := s.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // It fails only when the connection is closed.
	if err := s.nc.PublishRequest(s.server.Roster(), inbox, []byte(strconv.FormatUint(everything, 10))); err != nil {
		return nil, err
	}
	lists := map[string]uint64{}
	for len(lists) < maxOthers {
		select {
		case m := <-answers:
			if name, list := cardOf(m); name != "" && name != s.name {
				lists[name] = list
			}
		case <-ctx.Done():
			return lists, nil // No more will come.
		}
	}
	return lists, nil
}

// cardOf reads a card. A busd of an older version sends none, and its list is unknown.
func cardOf(m *nats.Msg) (name string, list uint64) {
	card := &rosterv1.Roster{}
	if proto.Unmarshal(m.Data, card) != nil || len(card.GetBusd()) > maxName {
		return "", 0
	}
	return card.GetBusd(), card.GetList()
}
