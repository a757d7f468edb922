package page

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/busd/sse"
)

const (
	// tickTime is how often a browser is sent changes.
	tickTime = 500 * time.Millisecond

	// maxViewers is how many browsers may follow at a time. Beyond: answered 503, and the page does not change by itself.
	maxViewers = 64

	// maxShown is how many decisions a browser is sent at a time. Beyond: it is sent the newest, and the number of the
	// others.
	maxShown = 50
)

// live sends the changes of the page as server-sent events, until the browser leaves, busd drains, or the browser may
// no longer read. A browser that reads too slowly is sent less, and the number of decisions that it missed.
func (p *Page) live(w http.ResponseWriter, r *http.Request) {
	select {
	case p.viewers <- struct{}{}:
		defer func() { <-p.viewers }()
	default:
		w.Header().Set("Retry-After", "10")
		http.Error(w, "too many browsers follow: close some, or reload the page from time to time", http.StatusServiceUnavailable)
		return
	}
	query := r.URL.Query()
	version, _ := strconv.ParseUint(query.Get("version"), 10, 64) // Without a version, everything is sent.
	after := cmp.Or(r.Header.Get("Last-Event-ID"), query.Get("after"))
	out, err := sse.Begin(w)
	if err != nil {
		return
	}
	v := &viewer{out, p, p.Records.FollowAfter(after), version, time.Now()}
	v.run(r.Context(), func() bool { return p.Guard.DeniesPage(r) == nil })
}

// viewer is a browser that follows the page.
type viewer struct {
	*sse.Writer
	page    *Page
	reader  *records.Reader
	version uint64 // of the parts that it has
	sent    time.Time
}

func (v *viewer) run(ctx context.Context, allowed func() bool) {
	ticker := time.NewTicker(tickTime)
	defer ticker.Stop()
	for ctx.Err() == nil && allowed() {
		v.addParts()
		v.addDecisions()
		if v.Send() != nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// addParts adds the parts that the browser does not have.
func (v *viewer) addParts() {
	parts, version, others := v.page.board.since(v.version)
	v.version = version
	if others {
		var list bytes.Buffer
		for i := range parts[1:] {
			list.Write(parts[i+1].html)
		}
		v.add("modules", "", list.Bytes())
		parts = parts[:1]
	}
	for i := range parts {
		v.add("part", "", parts[i].html)
	}
	if time.Since(v.sent) > sse.Beat {
		v.sent = time.Now()
		v.AddBeat()
	}
}

// addDecisions adds the decisions that were made since, as rows of the table.
func (v *viewer) addDecisions() {
	found, missed := v.reader.Newest(maxShown)
	if missed > 0 {
		v.add("missed", "", strconv.AppendUint(nil, missed, 10))
	}
	if len(found) == 0 {
		return
	}
	rows, err := rowsOf(found)
	if err != nil {
		v.page.Log.Error().Err(err).Msg("cannot show decisions")
		return
	}
	v.add("decisions", found[len(found)-1].ID, rows)
}

func rowsOf(found []decision.Record) ([]byte, error) {
	var rows bytes.Buffer
	for i := range found {
		if err := templates.ExecuteTemplate(&rows, "row", &found[i]); err != nil {
			return nil, err
		}
	}
	return rows.Bytes(), nil
}

func (v *viewer) add(event, id string, data []byte) {
	v.sent = time.Now()
	v.Add(event, id, data)
}
