package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/records"
)

func newExplain() *cobra.Command {
	r, asJSON := &remote{scope: config.ScopeRead}, false
	c := &cobra.Command{
		Use:   "explain ID",
		Short: "Tell of one decision who was asked, what each said, and why it counted",
		Long: `Tell of one decision who was asked, what each said, how long it took, and why it counted or did not. The ID is the
decision_id of an answer over HTTP; Synapse's log has it, and busd tail prints it.

The exit status is 1 when there is no such record, or no more.`,
		Args: arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			out, err := r.do(c.Context(), http.MethodGet, "/_modulebus/v1/decisions/"+url.PathEscape(args[0]), nil)
			if no, ok := errors.AsType[*refusal](err); ok && no.Status == http.StatusNotFound {
				return errors.New(no.Text)
			}
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), out)
			}
			record, err := parseRecord(out)
			if err != nil {
				return err
			}
			return printRecord(c.OutOrStdout(), record)
		},
	}
	r.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// shadowTime is how long after its answer an ask's record may take to appear: it waits for the modules in shadow.
const shadowTime = 10 * time.Second

// explainAsked explains the decision of an ask. Its record appears when the modules in shadow, if any, have answered.
func (r *remote) explainAsked(ctx context.Context, w io.Writer, answer []byte) error {
	var asked struct {
		ID string `json:"decision_id"`
	}
	if json.Unmarshal(answer, &asked) != nil || asked.ID == "" {
		return printLine(w, "no module was asked: none wants this callback, so there is nothing to explain")
	}
	record, err := r.recordOf(ctx, asked.ID, shadowTime)
	if err != nil {
		return err
	}
	return printRecord(w, record)
}

// recordOf returns the record of an ask that is over. It waits for the record, at most for most.
func (r *remote) recordOf(ctx context.Context, id string, most time.Duration) (*decision.Record, error) {
	waiting, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	for {
		out, err := r.do(ctx, http.MethodGet, "/_modulebus/v1/decisions/"+id, nil)
		if err == nil {
			return parseRecord(out)
		}
		if no, ok := errors.AsType[*refusal](err); !ok || no.Status != http.StatusNotFound {
			return nil, err
		}
		select {
		case <-waiting.Done():
			return nil, err
		case <-time.After(pollRecord):
		}
	}
}

func parseRecord(raw []byte) (*decision.Record, error) {
	r := &decision.Record{}
	if json.Unmarshal(raw, r) != nil {
		return nil, errOtherVersion
	}
	return r, nil
}

const pollRecord = 50 * time.Millisecond

func printRecord(w io.Writer, r *decision.Record) error {
	fmt.Fprintf(w, "%s  %s\n%s%s: %s, in %.1f ms of %.0f\n\n", r.ID, r.Time, r.Callback, records.From(r), records.Verdict(r),
		float64(r.MS), float64(r.BudgetMS))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ORDER\tMODULE\tWORKER\tASKED AT\tTOOK\tSAID\tCOUNTED")
	for i, m := range r.Modules {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", i+1, m.Module, dash(m.Worker), dash(records.AskedAt(&m)), dash(records.Took(&m)),
			dash(records.Said(&m)), records.Counted(r, &m))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if r.TraceID != "" {
		fmt.Fprintf(w, "\ntrace: %s\n", r.TraceID)
	}
	for _, c := range []struct {
		what string
		raw  json.RawMessage
	}{{"request", r.Request}, {"answer", r.Answer}} {
		if c.raw != nil {
			fmt.Fprintf(w, "\n%s: %s\n", c.what, c.raw)
		}
	}
	return nil
}
