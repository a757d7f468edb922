package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/replay"
)

// replaying is one run of busd replay.
type replaying struct {
	remote

	query  query
	file   string
	asJSON bool
	ask    bool

	config  *config.Config
	out     io.Writer
	seen    map[string]bool // modules
	sums    sums
	wait    time.Duration // how long to wait for the record of an ask of this run
	missed  int           // asks of this run whose records could not be read
	unknown tally
	secrets tally           // callbacks that were asked without the secrets of their requests
	own     map[string]bool // records of asks of this run that it has not read yet
}

// sums counts records by result.
type sums struct {
	Records   int `json:"records"`
	Differ    int `json:"differ"`
	Unknown   int `json:"unknown"`   // the record lacks what the decision needs
	Undecided int `json:"undecided"` // modules did not decide them
}

// difference is a record whose decision has changed.
type difference struct {
	ID       string         `json:"id"`
	Callback string         `json:"callback"`
	Was      replay.Verdict `json:"was"`
	Would    replay.Verdict `json:"would_be"`
}

func newReplay() *cobra.Command {
	r := &replaying{remote: remote{scope: config.ScopeRead}, wait: shadowTime}
	c := &cobra.Command{
		Use:   "replay --since 24h | --file F [--config NEW]",
		Short: "Decide recorded asks again under another configuration, and print which decisions differ",
		Long: `Decide recorded asks again under another configuration: another order, other policies and timeouts, a module less.
Nobody is asked: what modules said is in the records. What the other configuration would need and the records do not have
is counted as unknown, such as what a module says that was not asked.

With --ask, recorded requests are asked again of the busd at --url, so that a new version of a module can be held against
what the old one said: of callbacks without side effects alone, and where records have requests (decisions.requests).
Passwords, tokens and addresses are in no record, so they are asked without; stderr says where that may matter.

The exit status is 3 when a decision differs.`,
		Example: "  busd replay --since 24h --config new.yaml\n  busd tail --since 24h --json >records && busd replay --file records --config new.yaml",
		Args:    arguments(0, 0),
		RunE:    func(c *cobra.Command, _ []string) error { return r.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr()) },
	}
	r.flags(c)
	r.query.flags(c)
	c.Flags().StringVar(&r.file, "file", "", "`file` with records, a line for each, as busd tail --json prints them")
	c.Flags().BoolVar(&r.asJSON, "json", false, "print JSON: a line for each decision that differs, and one with sums")
	c.Flags().BoolVar(&r.ask, "ask", false, "ask recorded requests again of the busd at --url")
	return c
}

// errDiffers is not printed, because the output says it.
var errDiffers = errors.New("decisions differ")

func (r *replaying) run(ctx context.Context, out, complain io.Writer) (err error) {
	r.out, r.seen, r.unknown, r.secrets = out, map[string]bool{}, tally{}, tally{}
	if r.ask {
		r.scope = config.ScopeAdmin // It asks and reads.
	} else if r.config, err = readConfig(r.remote.file()); err != nil {
		return err
	}
	if err := r.each(ctx, complain); err != nil {
		return err
	}
	return r.sum(complain)
}

// each decides every record again.
func (r *replaying) each(ctx context.Context, complain io.Writer) error {
	again := func(record *decision.Record, _ []byte) error { return r.again(ctx, record) }
	r.own = map[string]bool{}
	switch {
	case r.file != "" && r.query.since != "":
		return usagef("--since is of a running busd, and --file names a file (say one of the two)")
	case r.file != "":
		return readRecords(r.file, again)
	case r.query.since == "":
		return usagef("say --since or --file: records of which time, or from where")
	}
	v := r.query.values()
	v.Set("follow", "false")
	return r.records(ctx, v, complain, again)
}

func readRecords(file string, each func(*decision.Record, []byte) error) error {
	f, err := os.Open(file)
	if err != nil {
		return usagef("--file: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxEvent)
	for n := 1; lines.Scan(); n++ {
		var record decision.Record
		if line := bytes.TrimSpace(lines.Bytes()); len(line) == 0 {
			continue
		} else if err := json.Unmarshal(line, &record); err != nil || record.Callback == "" {
			return usagef("%s:%d: this is no record, as busd tail --json prints them", file, n)
		}
		if err := each(&record, lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// again decides one record again.
func (r *replaying) again(ctx context.Context, record *decision.Record) error {
	if r.own[record.ID] { // Otherwise the run would never end.
		delete(r.own, record.ID)
		return nil
	}
	r.sums.Records++
	for _, m := range record.Modules {
		r.seen[m.Module] = true
	}
	if !replay.Decided(record) {
		r.sums.Undecided++
		return nil
	}
	was := replay.Recorded(record)
	would, err := r.verdict(ctx, record)
	switch {
	case err != nil:
		return err
	case would.Unknown != "":
		r.sums.Unknown++
		r.unknown.add(would.Unknown)
		return nil
	case would.Same(&was):
		return nil
	}
	r.sums.Differ++
	return r.print(difference{record.ID, record.Callback, was, would})
}

func (r *replaying) print(d difference) error {
	if r.asJSON {
		return r.printJSON(d)
	}
	return printLine(r.out, fmt.Sprintf("%s  %s  was %s, would be %s", d.ID, d.Callback, inWords(&d.Was), inWords(&d.Would)))
}

func (r *replaying) printJSON(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return printLine(r.out, string(line))
}

// inWords describes a verdict to people.
func inWords(v *replay.Verdict) string {
	text := strings.ReplaceAll(v.Outcome, "_", " ")
	switch {
	case v.ByPolicy:
		return text + " by the on_failure of " + v.DecidedBy
	case v.DecidedBy != "":
		return text + " by " + v.DecidedBy
	case len(v.By) > 0:
		return text + " by " + strings.Join(v.By, " and ")
	}
	return text
}

// sum writes the sums, and what could not be decided again.
func (r *replaying) sum(complain io.Writer) error {
	if r.sums.Records == 0 {
		fmt.Fprintln(complain, "busd: there are no such records, so nothing was decided again")
	} else if r.config != nil {
		for _, name := range replay.Names(r.config, r.seen) {
			fmt.Fprintf(complain, "busd: no record has module %s: what it would say, nobody knows\n", name)
		}
	}
	r.unknown.tell(complain, "unknown: ")
	r.secrets.tell(complain, "asked without what records never have, so that the answer may be another one for that alone: ")
	s := r.sums
	var err error
	if r.asJSON {
		err = r.printJSON(s)
	} else {
		text := "%d records: %d differ, %d unknown, %d that modules did not decide"
		err = printLine(r.out, fmt.Sprintf(text, s.Records, s.Differ, s.Unknown, s.Undecided))
	}
	if err == nil && s.Differ > 0 {
		return errDiffers
	}
	return err
}

// shadowQuery selects all records that name the module.
func shadowQuery(module, since string) url.Values {
	return url.Values{"module": {module}, "since": {since}, "follow": {"false"}}
}
