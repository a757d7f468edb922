package records

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/modulebus/modulebus/decision"
)

const (
	scanChunk   = 64               // messages of the stream that are read at once
	firstWindow = 64               // messages that are looked at first for the newest records
	idleTime    = time.Minute      // after which JetStream forgets a reader that is gone
	aheadTime   = time.Minute      // how far the clock of a busd may be ahead of JetStream's
	laterTime   = 15 * time.Minute // from the beginning of an ask until its record is usually in the stream
)

// past reads the stream in order, up to its end at the time when the reader is made. It may be used by one goroutine at
// a time.
type past struct {
	journal  *Journal
	consumer jetstream.Consumer
	left     uint64 // messages that are not read yet
}

// look returns a reader with the start and the subjects of the configuration.
func (j *Journal) look(ctx context.Context, c jetstream.ConsumerConfig) (*past, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	c.AckPolicy, c.MemoryStorage, c.Replicas, c.InactiveThreshold = jetstream.AckNonePolicy, true, 1, idleTime
	consumer, err := j.js.CreateConsumer(ctx, j.server.DecisionStream(), c)
	if err != nil {
		return nil, j.unreadable(err)
	}
	return &past{j, consumer, consumer.CachedInfo().NumPending}, nil
}

// history returns a reader of the records that may match the filter.
func (j *Journal) history(ctx context.Context, f *decision.Filter) (*past, error) {
	c := jetstream.ConsumerConfig{FilterSubjects: j.subjects(f)}
	if !f.Since.IsZero() {
		from := f.Since.Add(-aheadTime)
		c.DeliverPolicy, c.OptStartTime = jetstream.DeliverByStartTimePolicy, &from
	}
	return j.look(ctx, c)
}

func (j *Journal) unreadable(err error) error {
	return fmt.Errorf("records of decisions cannot be read from JetStream: %w", j.explained(err))
}

// subjects returns the subjects of records that may match the filter.
func (j *Journal) subjects(f *decision.Filter) (all []string) {
	callback := f.Callback
	if callback == "" {
		callback = "*"
	}
	if f.Failing || len(f.Outcomes) == 0 {
		return []string{j.server.Decision("*", callback)}
	}
	for _, outcome := range slices.Compact(slices.Sorted(slices.Values(f.Outcomes))) {
		all = append(all, j.server.Decision(outcome, callback))
	}
	return all
}

// next returns more messages; none when all are read.
func (p *past) next(ctx context.Context) (found []jetstream.Msg, _ error) {
	for p.left > 0 {
		batch, err := p.consumer.FetchNoWait(scanChunk)
		if err != nil {
			return nil, p.journal.unreadable(err)
		}
		for m := range batch.Messages() {
			found = append(found, m)
		}
		if err := batch.Error(); err != nil {
			return nil, p.journal.unreadable(err)
		}
		if err := p.count(ctx, found); err != nil || len(found) > 0 {
			return found, err
		}
	}
	return nil, nil
}

// count notes how many messages are left. If none came, it asks JetStream, because some may have been removed
// meanwhile.
func (p *past) count(ctx context.Context, found []jetstream.Msg) error {
	if len(found) > 0 {
		about, err := found[len(found)-1].Metadata()
		if err == nil {
			p.left = about.NumPending
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	info, err := p.consumer.Info(ctx)
	if err != nil {
		return p.journal.unreadable(err)
	}
	p.left = info.NumPending
	return nil
}

// close makes JetStream forget the reader.
func (p *past) close() {
	ctx, cancel := context.WithTimeout(context.Background(), apiTime)
	defer cancel()
	_ = p.journal.js.DeleteConsumer(ctx, p.journal.server.DecisionStream(), p.consumer.CachedInfo().Name) // Else it goes after idleTime.
}

// last returns the newest records that match the filter and are not in memory, newest first, at most most.
func (j *Journal) last(ctx context.Context, f *decision.Filter, most int, inMemory func(id string) bool) (found []decision.Record, _ error) {
	asking, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	s, err := j.js.Stream(asking, j.server.DecisionStream())
	if err != nil {
		return nil, j.unreadable(err)
	}
	state := s.CachedInfo().State
	window := uint64(firstWindow)
	for high := state.LastSeq; high >= state.FirstSeq && high > 0 && len(found) < most; window *= 2 {
		low := max(state.FirstSeq, high-min(high, window)+1)
		part, older, err := j.between(ctx, f, low, high, most-len(found), inMemory)
		if err != nil {
			return nil, err
		}
		sortByTime(part)
		slices.Reverse(part)
		found = append(found, part...)
		if older {
			break
		}
		high = low - 1
	}
	return found[:min(len(found), most)], nil
}

// between returns the newest records of a part of the stream: most, if there are as many, and at most twice as many. It
// also returns whether everything before that part is too old for the filter.
func (j *Journal) between(
	ctx context.Context, f *decision.Filter, low, high uint64, most int, inMemory func(string) bool,
) (found []decision.Record, older bool, _ error) {
	c := jetstream.ConsumerConfig{FilterSubjects: j.subjects(f), DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: low}
	p, err := j.look(ctx, c)
	if err != nil {
		return nil, false, err
	}
	defer p.close()
	for {
		batch, err := p.next(ctx)
		if err != nil || len(batch) == 0 {
			return found, older, err
		}
		for _, m := range batch {
			about, err := m.Metadata()
			if err != nil || about.Sequence.Stream > high {
				return found, older, err
			}
			older = older || about.Timestamp.Before(f.Since.Add(-aheadTime))
			for r := range written(m.Headers(), m.Data()) {
				if f.Wants(&r) && !inMemory(r.ID) {
					found = newest(append(found, r), most)
				}
			}
		}
	}
}

// newest drops the oldest records when there are more than twice as many as wanted.
func newest(found []decision.Record, most int) []decision.Record {
	if len(found) <= 2*most {
		return found
	}
	sortByTime(found)
	n := copy(found, found[len(found)-most:])
	clear(found[n:])
	return found[:n]
}

// sortByTime sorts records by the time of their asks. In the stream, records of one moment stand by outcome and callback.
func sortByTime(found []decision.Record) {
	slices.SortStableFunc(found, func(a, b decision.Record) int { return a.Time.Compare(b.Time.Time) })
}

// inOrder puts the records of each busd, in the places that they have among those of others, into the order in which they were made. It
// does not go by their time, because clocks jump.
func inOrder(found []decision.Record) {
	places := map[string][]int{} // by busd
	for i := range found {
		token, _ := maker(found[i].ID)
		places[token] = append(places[token], i)
	}
	for _, at := range places {
		own := make([]decision.Record, 0, len(at))
		for _, i := range at {
			own = append(own, found[i])
		}
		slices.SortStableFunc(own, func(a, b decision.Record) int {
			_, one := maker(a.ID)
			_, other := maker(b.ID)
			return cmp.Or(cmp.Compare(len(one), len(other)), strings.Compare(one, other))
		})
		for n, i := range at {
			found[i] = own[n]
		}
	}
}

// find returns the record with an ID, whose ask began at a time. It looks near that time first, and then everywhere,
// because clocks jump.
func (j *Journal) find(ctx context.Context, id string, at time.Time) (r decision.Record, found bool, _ error) {
	near := at.Add(-aheadTime)
	start := jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &near}
	sequence, err := j.search(ctx, id, start, at.Add(laterTime))
	if err == nil && sequence == 0 {
		sequence, err = j.search(ctx, id, jetstream.ConsumerConfig{}, time.Time{})
	}
	if err != nil || sequence == 0 {
		return r, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	s, err := j.js.Stream(ctx, j.server.DecisionStream())
	if err != nil {
		return r, false, j.unreadable(err)
	}
	m, err := s.GetMsg(ctx, sequence)
	if err != nil {
		return r, false, j.unreadable(err)
	}
	for r := range written(m.Header, m.Data) {
		if r.ID == id {
			return r, true, nil
		}
	}
	return decision.Record{}, false, nil
}

// since returns the sequence in the stream of the record with an ID and a subject; 0 if it is not found from its ask on.
func (j *Journal) since(ctx context.Context, id, subject string) (sequence uint64, _ error) {
	at, _, _, known := j.recorder.ids.parse(id)
	if !known {
		return 0, nil
	}
	near := at.Add(-aheadTime)
	start := jetstream.ConsumerConfig{FilterSubject: subject, DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &near}
	return j.search(ctx, id, start, time.Time{})
}

// search returns the sequence in the stream of the record with an ID; 0 if it is not found. It stops at until, if that
// is not zero.
func (j *Journal) search(ctx context.Context, id string, c jetstream.ConsumerConfig, until time.Time) (sequence uint64, _ error) {
	c.HeadersOnly = true
	p, err := j.look(ctx, c)
	if err != nil {
		return 0, err
	}
	defer p.close()
	for {
		batch, err := p.next(ctx)
		if err != nil || len(batch) == 0 {
			return 0, err
		}
		for _, m := range batch {
			about, err := m.Metadata()
			switch {
			case err != nil, !until.IsZero() && about.Timestamp.After(until):
				return 0, err
			case named(m.Headers(), id):
				return about.Sequence.Stream, nil
			}
		}
	}
}
