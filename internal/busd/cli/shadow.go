package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/replay"
)

// shadowSums counts what a module in shadow would have changed for one callback.
type shadowSums struct {
	Callback string                `json:"callback"`
	Asks     int                   `json:"asks"`
	Failed   int                   `json:"failed"`  // how often the module failed
	Unknown  int                   `json:"unknown"` // asks whose result with the module is not known
	Differ   []difference          `json:"differ"`
	Added    decision.Milliseconds `json:"added_ms"`     // how much longer an ask would take, on average
	AddedMax decision.Milliseconds `json:"added_max_ms"` // at most

	added decision.Milliseconds
}

func newShadow() *cobra.Command {
	r, since, asJSON := &remote{scope: config.ScopeRead}, "24h", false
	c := &cobra.Command{
		Use:   "shadow MODULE",
		Short: "Tell what would have been decided otherwise if a module in shadow had counted",
		Long: `Tell what would have been decided otherwise if a module in shadow (shadow: true) had counted: which decisions, by
callback, and how much longer asks would have taken.`,
		Args: arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			list, err := r.shadowSums(c, args[0], since)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				fmt.Fprintf(c.ErrOrStderr(), "busd: no record (--since %s) has module %s in shadow: does its entry say shadow: true, "+
					"and was a callback asked that it registers?\n", since, args[0])
			}
			switch {
			case asJSON:
				return (&replaying{out: c.OutOrStdout()}).printJSON(list)
			case len(list) == 0:
				return nil
			}
			return printShadow(c.OutOrStdout(), list)
		},
		ValidArgsFunction: r.completeModules,
	}
	r.flags(c)
	c.Flags().StringVar(&since, "since", since, "records of the last `time`, or since a time")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// shadowSums counts what a module in shadow would have changed, by callback.
func (r *remote) shadowSums(c *cobra.Command, module, since string) ([]*shadowSums, error) {
	all := map[string]*shadowSums{}
	err := r.records(c.Context(), shadowQuery(module, since), c.ErrOrStderr(), func(record *decision.Record, _ []byte) error {
		addShadow(all, record, module)
		return nil
	})
	list := []*shadowSums{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		s.Added = decision.In((s.added / decision.Milliseconds(s.Asks)).Duration())
		list = append(list, s)
	}
	return list, err
}

// addShadow adds one record to the sums.
func addShadow(all map[string]*shadowSums, r *decision.Record, module string) {
	m := r.Find(module)
	if m == nil || !m.Shadow || !replay.Decided(r) {
		return
	}
	s := cmp.Or(all[r.Callback], &shadowSums{Callback: r.Callback, Differ: []difference{}})
	all[r.Callback] = s
	s.Asks++
	if m.Said == decision.Failure {
		s.Failed++
	}
	was, would := replay.Recorded(r), replay.WithShadow(r, module)
	switch {
	case would.Unknown != "":
		s.Unknown++
		return
	case !would.Same(&was):
		s.Differ = append(s.Differ, difference{r.ID, r.Callback, was, would})
	}
	added := max(0, would.MS-r.MS)
	s.added += added
	s.AddedMax = max(s.AddedMax, added)
}

// maxShown is how many differing decisions of a callback are shown. Beyond: --json has them.
const maxShown = 20

func printShadow(w io.Writer, list []*shadowSums) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CALLBACK\tASKS\tDIFFER\tUNKNOWN\tFAILED\tADDED\tADDED AT MOST")
	for _, s := range list {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%.1f ms\t%.1f ms\n",
			s.Callback, s.Asks, len(s.Differ), s.Unknown, s.Failed, float64(s.Added), float64(s.AddedMax))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, s := range list {
		for _, d := range s.Differ[:min(len(s.Differ), maxShown)] {
			fmt.Fprintf(w, "%s  %s  was %s, would be %s\n", d.ID, d.Callback, inWords(&d.Was), inWords(&d.Would))
		}
		if more := len(s.Differ) - maxShown; more > 0 {
			fmt.Fprintf(w, "and %d more of %s: --json has them\n", more, s.Callback)
		}
	}
	return nil
}
