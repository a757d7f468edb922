package operatordoor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/sse"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// maxDecisions is how many records GET decisions returns. Beyond: the newest are returned.
	maxDecisions = 10000

	defaultDecisions = 100

	// maxLookups is how many requests for records are answered at once: each may have maxDecisions in memory. Beyond: they wait for lookupTime.
	maxLookups = 4

	// lookupTime is how long a request for records waits for others. Beyond: answered 503.
	lookupTime = 10 * time.Second

	// readTime is how long a client may take to read records that it requested. Beyond: the connection is closed.
	readTime = time.Minute
)

// DecisionList is the response of GET /_modulebus/v1/decisions.
type DecisionList struct {
	Decisions []decision.Record `json:"decisions"` // the newest first
}

// Lost is what the stream tells a reader that was too slow.
type Lost struct {
	Lost uint64 `json:"lost"` // records that it missed
}

var outcomes = []string{decision.NoOpinion, decision.Answered, decision.Refused, decision.Failed, decision.Cancelled}

// filterOf reads the filter from the query. A module that is not on the roster is accepted, because older records may
// name it.
func filterOf(q url.Values) (f decision.Filter, _ *door.Problem) {
	f.Module, f.Outcomes, f.Failing = q.Get("module"), q["outcome"], q.Get("failing") == "true"
	for _, o := range f.Outcomes {
		if !slices.Contains(outcomes, o) {
			return f, door.NewProblem(http.StatusBadRequest, matrix.InvalidParam,
				"outcome "+strconv.Quote(o)+" is not known ("+config.DidYouMean(o, outcomes, "no_opinion, answered, refused, failed or cancelled")+")")
		}
	}
	if name := q.Get("callback"); name != "" {
		d, ok := subjects.Find(name)
		if !ok {
			return f, door.NewProblem(http.StatusBadRequest, matrix.InvalidParam, "callback "+strconv.Quote(name)+" is not known: busd callbacks lists them")
		}
		f.Callback = d.FullName()
	}
	var p *door.Problem
	f.Since, p = since(q.Get("since"))
	return f, p
}

// since reads a time, or how long ago it was.
func since(text string) (time.Time, *door.Problem) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	ago, err := config.ParseDuration(text)
	if err != nil || ago < 0 {
		return time.Time{}, door.NewProblem(http.StatusBadRequest, matrix.InvalidParam,
			"since is neither a duration (try 1h) nor a time (try 2006-01-02T15:04:05Z)")
	}
	return time.Now().Add(-ago), nil
}

func limitOf(q url.Values) (int, *door.Problem) {
	text := q.Get("limit")
	if text == "" {
		return defaultDecisions, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, door.NewProblem(http.StatusBadRequest, matrix.InvalidParam, "limit is not a number from 1")
	}
	return min(n, maxDecisions), nil
}

// oneOfFew has a handler serve few requests at once. A place is given back when the response is written, because its records are in memory
// until then.
func (d *Door) oneOfFew(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		waiting, cancel := context.WithTimeout(r.Context(), lookupTime)
		defer cancel()
		select {
		case d.lookups <- struct{}{}:
			defer func() { <-d.lookups }()
			serveUntil(serve, w, r, time.Now().Add(readTime))
		case <-waiting.Done():
			door.NewProblem(http.StatusServiceUnavailable, matrix.Unknown, fmt.Sprintf("%d requests for records are under way", maxLookups)).WriteTo(w)
		}
	}
}

// serveUntil serves a client that must have read all but the last few bytes by a time.
func serveUntil(serve http.HandlerFunc, w http.ResponseWriter, r *http.Request, end time.Time) {
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(end)                            // It is supported by net/http's own connections.
	defer func() { _ = c.SetWriteDeadline(time.Time{}) }() // The connection may have other requests.
	serve(w, r)
}

func (d *Door) decisions(w http.ResponseWriter, r *http.Request) {
	f, p := filterOf(r.URL.Query())
	limit, q := limitOf(r.URL.Query())
	if p == nil {
		p = q
	}
	if p != nil {
		p.WriteTo(w)
		return
	}
	last, err := d.Records.Last(r.Context(), f, limit)
	if err != nil {
		unreadable(err).WriteTo(w)
		return
	}
	door.WriteJSON(w, http.StatusOK, DecisionList{last})
}

func (d *Door) decision(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	record, found, err := d.Records.Find(r.Context(), id)
	switch {
	case err != nil:
		unreadable(err).WriteTo(w)
	case !found:
		door.NewProblem(http.StatusNotFound, "M_NOT_FOUND", fmt.Sprintf("there is no record %q: %s", id, d.Records.Kept())).WriteTo(w)
	default:
		door.WriteJSON(w, http.StatusOK, record)
	}
}

// decisionStream sends records as server-sent events: if a time is given, first the records since then, and then later
// ones, unless follow is false. It ends when the token may no longer read.
func (d *Door) decisionStream(w http.ResponseWriter, r *http.Request) {
	f, p := filterOf(r.URL.Query())
	if p != nil {
		p.WriteTo(w)
		return
	}
	ctx, release := d.Life.UntilDrain(r.Context())
	defer release()
	reader, err := d.reader(ctx, f)
	if err != nil {
		unreadable(err).WriteTo(w)
		return
	}
	defer reader.Close()
	if out, err := sse.Begin(w); err == nil {
		(&sender{out}).run(ctx, reader, r.URL.Query().Get("follow") != "false", func() bool { return d.Guard.Denies(r, access.Read) == nil })
	}
}

// reader returns a reader of the records since a time, if one is given, and of later ones.
func (d *Door) reader(ctx context.Context, f decision.Filter) (*records.Reader, error) {
	if f.Since.IsZero() {
		return d.Records.Follow(f), nil
	}
	return d.Records.History(ctx, f)
}

func unreadable(err error) *door.Problem {
	return door.NewProblem(http.StatusServiceUnavailable, matrix.Unknown, err.Error())
}

// sender writes records as server-sent events.
type sender struct{ *sse.Writer }

func (s *sender) run(ctx context.Context, reader *records.Reader, follow bool, allowed func() bool) {
	for ctx.Err() == nil && allowed() {
		found, lost, end, err := reader.Read()
		if err != nil {
			_ = s.add("error", "", map[string]string{"error": err.Error()}) // It ends in any case.
			_ = s.Send()
			return
		}
		if s.sendAll(found, lost) != nil || end && !follow {
			return
		}
		if end && s.await(ctx, reader) != nil {
			return
		}
	}
}

func (s *sender) sendAll(found []decision.Record, lost uint64) error {
	if lost > 0 {
		if err := s.add("lost", "", Lost{lost}); err != nil {
			return err
		}
	}
	for i := range found {
		if err := s.add("", found[i].ID, found[i]); err != nil {
			return err
		}
	}
	return s.Send()
}

// await waits for the next record, and meanwhile keeps the stream alive.
func (s *sender) await(ctx context.Context, reader *records.Reader) error {
	waiting, cancel := context.WithTimeout(ctx, sse.Beat)
	defer cancel()
	reader.Await(waiting)
	if waiting.Err() == nil || ctx.Err() != nil {
		return ctx.Err()
	}
	s.AddBeat()
	return s.Send()
}

func (s *sender) add(event, id string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	s.Add(event, id, data)
	return nil
}
