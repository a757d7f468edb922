package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/replay"
	"github.com/modulebus/modulebus/internal/redact"
	"github.com/modulebus/modulebus/subjects"
)

// verdict decides one record again: from the record itself, or by asking busd.
func (r *replaying) verdict(ctx context.Context, record *decision.Record) (replay.Verdict, error) {
	if !r.ask {
		return replay.Under(record, r.config), nil
	}
	d, ok := subjects.Find(record.Callback)
	switch {
	case !ok:
		return replay.Verdict{Unknown: "this version has no callback " + record.Callback}, nil
	case !d.Options.GetSpeculative():
		return replay.Verdict{Unknown: record.Callback + " may have side effects, so it is not asked again"}, nil
	case record.Request == nil:
		return replay.Verdict{Unknown: "the record has no request: decisions.requests was false, or it was larger than 64 KiB"}, nil
	}
	if secret := redact.Fields(d.NewRequest().ProtoReflect().Descriptor()); len(secret) > 0 {
		r.secrets.add(record.Callback + " without " + strings.Join(secret, ", "))
	}
	return r.askAgain(ctx, record)
}

// askAgain sends a recorded request to busd again, and reads the result from the record of the new ask.
func (r *replaying) askAgain(ctx context.Context, record *decision.Record) (v replay.Verdict, err error) {
	out, err := r.do(ctx, http.MethodPost, "/_modulebus/v1/ask/"+strings.Replace(record.Callback, ".", "/", 1), record.Request)
	if no, ok := errors.AsType[*refusal](err); ok {
		switch no.Status {
		case http.StatusBadGateway: // A decision like others.
			out, err = no.raw, nil
		case http.StatusBadRequest, http.StatusNotFound, http.StatusRequestEntityTooLarge:
			return replay.Verdict{Unknown: "the busd that is asked does not take the request: " + no.Text}, nil
		}
	}
	if err != nil {
		return v, err
	}
	var asked struct {
		ID string `json:"decision_id"`
	}
	if json.Unmarshal(out, &asked) != nil {
		return v, errOtherVersion
	}
	if asked.ID == "" {
		return replay.Verdict{Outcome: decision.NoOpinion}, nil
	}
	if r.file == "" {
		r.own[asked.ID] = true
	}
	now, err := r.recordOf(ctx, asked.ID, r.patience())
	if no, ok := errors.AsType[*refusal](err); ok && no.Status == http.StatusNotFound {
		r.missed++
		return replay.Verdict{Unknown: missed}, nil
	}
	if err != nil {
		return v, err
	}
	return replay.Recorded(now), nil
}

const missed = "the record of what was asked again did not come, or was gone before it was read: too much else is asked of that busd"

// patience is how long to wait for the record of an ask of this run. It shrinks with each record that does not appear.
func (r *replaying) patience() time.Duration { return max(r.wait>>r.missed, pollRecord) }

// tally counts texts.
type tally map[string]int

// maxTold is how many different reasons busd replay prints. Beyond: the others are counted together.
const maxTold = 20

func (t tally) add(text string) {
	if _, told := t[text]; !told && len(t) >= maxTold {
		text = "other reasons"
	}
	t[text]++
}

// tell writes a line for each text, the most frequent first.
func (t tally) tell(w io.Writer, what string) {
	byCount := func(a, b string) int { return cmp.Or(t[b]-t[a], strings.Compare(a, b)) }
	for _, text := range slices.SortedFunc(maps.Keys(t), byCount) {
		fmt.Fprintf(w, "busd: %d %s%s\n", t[text], what, text)
	}
}
