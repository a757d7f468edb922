package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
)

// query selects the records that a command reads.
type query struct {
	since, module, callback string
	refused, failed         bool
}

func (q *query) flags(c *cobra.Command) {
	c.Flags().StringVar(&q.since, "since", q.since, "records of the last `time`, such as 1h, or since a time such as 2006-01-02T15:04:05Z")
	c.Flags().StringVar(&q.module, "module", "", "only records of asks that went to this `module`")
	c.Flags().StringVar(&q.callback, "callback", "", "only records of this `callback`")
}

func (q *query) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"since": q.since, "module": q.module, "callback": q.callback} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.refused {
		v.Add("outcome", decision.Refused)
	}
	if q.failed {
		v.Add("outcome", decision.Failed)
		v.Set("failing", "true")
	}
	return v
}

func newTail() *cobra.Command {
	r, q, asJSON, follow := &remote{scope: config.ScopeRead}, &query{}, false, false
	c := &cobra.Command{
		Use:   "tail",
		Short: "Print records of decisions of a running busd as they happen",
		Long: `Print records of decisions of a running busd, a line for each. busd explain ID tells all of one.

Without --since, it prints those that come, until it is interrupted. With --since, it prints those that there are, and
goes on with those that come where --follow is said. Who reads too slowly loses records, and stderr says how many.`,
		Example: "  busd tail --refused\n  busd tail --since 1h --module demo --json",
		Args:    arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			v := q.values()
			if c.Flags().Changed("since") && q.since == "" {
				return usagef("--since is empty: say how long ago (1h), or since which time (2006-01-02T15:04:05Z)")
			}
			if q.since != "" && !follow {
				v.Set("follow", "false")
			}
			return r.tail(c, v, asJSON)
		},
	}
	r.flags(c)
	c.Flags().Lookup("timeout").Usage = "how long to wait for busd to answer"
	q.flags(c)
	c.Flags().BoolVar(&q.refused, "refused", false, "only refusals; with --failed, these and those")
	c.Flags().BoolVar(&q.failed, "failed", false, "only asks that failed, and those in which a module did")
	c.Flags().BoolVar(&follow, "follow", false, "with --since, go on with records that come")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, a record on each line")
	_ = c.RegisterFlagCompletionFunc("callback", completeCallbacks)
	_ = c.RegisterFlagCompletionFunc("module", r.completeModules)
	return c
}

// tail prints records, a line for each.
func (r *remote) tail(c *cobra.Command, v url.Values, asJSON bool) error {
	found := 0
	err := r.records(c.Context(), v, c.ErrOrStderr(), func(record *decision.Record, raw []byte) error {
		found++
		if asJSON {
			return printLine(c.OutOrStdout(), string(raw))
		}
		return printLine(c.OutOrStdout(), summary(record))
	})
	if err == nil && found == 0 {
		err = printLine(c.ErrOrStderr(), "busd: there are no such records")
	}
	return err
}

func printLine(w io.Writer, text string) error {
	_, err := fmt.Fprintln(w, text)
	return err
}

// summary is a record in a line.
func summary(r *decision.Record) string {
	words := []string{r.Time.String(), r.ID, r.Callback, r.Outcome}
	if r.DecidedBy != "" {
		words = append(words, "by "+r.DecidedBy)
	}
	if r.ByPolicy {
		words = append(words, "(its on_failure)")
	}
	words = append(words, fmt.Sprintf("%.1fms", float64(r.MS)))
	for _, m := range r.Modules {
		if m.Said == decision.Failure && !m.Shadow {
			words = append(words, fmt.Sprintf("%s failed: %s", m.Module, m.Failure))
		}
	}
	return strings.Join(words, "  ")
}

// event is a server-sent event.
type event struct {
	name string
	data []byte
}

// read calls each with the record of an event, and writes to complain how many were lost.
func (e event) read(complain io.Writer, each func(*decision.Record, []byte) error) error {
	switch e.name {
	case "lost":
		var lost operatordoor.Lost
		if json.Unmarshal(e.data, &lost) == nil {
			fmt.Fprintf(complain, "busd: %d records came too fast, and are missing here\n", lost.Lost)
		}
		return nil
	case "error":
		no := &refusal{}
		if json.Unmarshal(e.data, no) != nil {
			return errOtherVersion
		}
		return errors.New(no.Text)
	}
	var record decision.Record
	if json.Unmarshal(e.data, &record) != nil {
		return errOtherVersion
	}
	return each(&record, e.data)
}

// maxEvent is the bytes of one event that is read. Beyond: the command fails.
const maxEvent = 1 << 20

// errCut is the error of a stream that ended although it should go on.
var errCut = errors.New("busd has ended the stream")

// records calls each with every record that the query selects, in the order in which they were made, until there are no
// more or ctx ends. It writes to complain how many records were lost.
func (r *remote) records(ctx context.Context, v url.Values, complain io.Writer, each func(*decision.Record, []byte) error) error {
	body, err := r.open(ctx, "/_modulebus/v1/decisions/stream?"+v.Encode())
	if err != nil {
		return err
	}
	defer body.Close()
	if module := v.Get("module"); module != "" {
		r.warnOfModule(ctx, complain, module)
	}
	err = events(body, func(e event) error { return e.read(complain, each) })
	switch {
	case ctx.Err() != nil:
		return nil // The reader of the output has closed it.
	case err == nil && v.Get("follow") != "false":
		return errCut
	}
	return err
}

// events reads server-sent events until there are no more.
func events(body io.Reader, each func(event) error) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	var e event
	for lines.Scan() {
		line := lines.Bytes()
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case len(line) == 0 && e.data != nil:
			if err := each(e); err != nil {
				return err
			}
			e = event{}
		case string(name) == "event":
			e.name = string(value)
		case string(name) == "data":
			e.data = bytes.Clone(value)
		}
	}
	return lines.Err()
}

// open returns the body of a response of status 200, without a time limit for reading it.
func (r *remote) open(ctx context.Context, path string) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(r.timeout, func() { cancel(context.DeadlineExceeded) })
	rsp, err := r.request(ctx, http.MethodGet, path, nil) //nolint:bodyclose // The caller closes it.
	late.Stop()
	if err != nil {
		cancel(nil)
		return nil, err
	}
	return &opened{rsp.Body, cancel}, nil
}

type opened struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close implements [io.Closer].
func (o *opened) Close() error { o.cancel(nil); return o.ReadCloser.Close() }
