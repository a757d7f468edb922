package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
	"github.com/modulebus/modulebus/internal/busd/roster"
)

func newModules() *cobra.Command {
	r, asJSON, workers := &remote{scope: config.ScopeRead}, false, false
	c := &cobra.Command{
		Use:   "modules",
		Short: "List the modules of a running busd, and how they are",
		Args:  arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := r.do(c.Context(), http.MethodGet, "/_modulebus/v1/modules", nil)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), out)
			}
			list, err := parseModules(out)
			if err != nil {
				return err
			}
			warnOfConfig(c.ErrOrStderr(), list.Config)
			if workers {
				return printWorkers(c.OutOrStdout(), list.Modules, time.Now())
			}
			return printModules(c.OutOrStdout(), list.Modules, time.Now())
		},
	}
	r.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&workers, "workers", false, "list the workers one by one, with their processes")
	return c
}

var errOtherVersion = errors.New("busd's answer is not what this version knows: is --url right?")

func parseModules(raw []byte) (list operatordoor.ModuleList, err error) {
	if json.Unmarshal(raw, &list) != nil {
		return list, errOtherVersion
	}
	return list, nil
}

// warnOfModule warns if busd does not list a module whose records are wanted: its name may be misspelt. Only a warning, because
// records of before may have it.
func (r *remote) warnOfModule(ctx context.Context, w io.Writer, module string) {
	out, err := r.do(ctx, http.MethodGet, "/_modulebus/v1/modules", nil)
	if err != nil {
		return // The command finds out by itself what is wrong.
	}
	list, err := parseModules(out)
	if err != nil {
		return
	}
	var names []string
	for _, m := range list.Modules {
		names = append(names, m.Name)
	}
	if !slices.Contains(names, module) {
		fmt.Fprintf(w, "busd: there is no module %q now (%s)\n", module, config.DidYouMean(module, names, "busd modules lists them"))
	}
}

// warnOfConfig warns if the running configuration is not the file's.
func warnOfConfig(w io.Writer, s operatordoor.ConfigStatus) {
	if s.Error != "" {
		fmt.Fprintf(w, "busd: the configuration file is not good, so the one of %s holds:\n%s\n", s.TakenAt.Format(time.DateTime), s.Error)
	}
	if len(s.RestartFor) > 0 {
		fmt.Fprintf(w, "busd: restart busd to take over what changed in %s\n", strings.Join(s.RestartFor, ", "))
	}
}

func printModules(w io.Writer, list []operatordoor.ModuleStatus, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ORDER\tMODULE\tSTATE\tSINCE\tVERSION\tWORKERS\tRESTARTS\tNEWS\tCALLBACKS\tWEB RESOURCES\tLAST ERROR")
	for _, m := range list {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", m.Order, m.Name, state(m), ago(now, m.Since), dash(m.Version), m.Workers, m.Restarts,
			backlog(m.News, now),
			dash(strings.Join(m.Callbacks, " ")), dash(strings.Join(m.WebResources, " ")), lastError(m, now))
	}
	return t.Flush()
}

// backlog says how much news waits for the module, and for how long.
func backlog(n *roster.News, now time.Time) string {
	switch {
	case n == nil:
		return "-"
	case n.Waiting == 0:
		return "0"
	}
	return fmt.Sprintf("%d, oldest %s", n.Waiting, ago(now, n.Oldest))
}

// state is the module's state, with a word for what else is known.
func state(m operatordoor.ModuleStatus) string {
	switch {
	case m.Shadow:
		return string(m.State) + ", in shadow"
	case len(m.Failing) > 0:
		return string(m.State) + ", failing"
	case m.Remembered:
		return string(m.State) + ", remembered"
	}
	return string(m.State)
}

func lastError(m operatordoor.ModuleStatus, now time.Time) string {
	text := dash(m.LastError)
	if !m.LastErrorAt.IsZero() {
		text = ago(now, m.LastErrorAt) + " ago: " + text
	}
	if m.LastErrorOver {
		text += " (over)"
	}
	return text
}

func printWorkers(w io.Writer, list []operatordoor.ModuleStatus, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MODULE\tWORKER\tJOINED\tVERSION\tPID\tUPTIME\tRESTARTS\tLAST ERROR")
	for _, m := range list {
		joined := map[string]bool{}
		for _, worker := range m.WorkerList {
			joined[worker.Name] = true
			p := m.Process(worker.Name)
			fmt.Fprintf(t, "%s\t%s\t%s ago\t%s\t%s\n", m.Name, worker.Name, ago(now, worker.Since), dash(worker.Version), processColumns(p, now))
		}
		for _, p := range m.Processes {
			if !joined[p.Worker] {
				fmt.Fprintf(t, "%s\t%s\t-\t-\t%s\n", m.Name, dash(p.Worker), processColumns(&p, now))
			}
		}
	}
	return t.Flush()
}

// processColumns are the columns of a process that busd runs; nil is a worker that busd does not run.
func processColumns(p *operatordoor.Process, now time.Time) string {
	if p == nil {
		return "-\t-\t-\t-"
	}
	pid, last := "-", "-"
	if p.PID != 0 {
		pid = strconv.Itoa(p.PID)
	}
	if p.LastError != "" {
		last = ago(now, p.LastErrorAt) + " ago: " + p.LastError
	}
	return fmt.Sprintf("%s\t%s\t%d\t%s", pid, ago(now, p.StartedAt), p.Restarts, last)
}

// ago is the time since a moment, in one or two units.
func ago(now, since time.Time) string {
	d := now.Sub(since)
	switch {
	case since.IsZero():
		return "-"
	case d < time.Minute:
		return strconv.Itoa(int(max(0, d)/time.Second)) + "s"
	case d < time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + "m"
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d/time.Hour), int(d%time.Hour/time.Minute))
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + "d"
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// completeModules completes the names of modules: those of the running busd, or else those in the configuration.
func (r *remote) completeModules(c *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	r.timeout = time.Second
	if out, err := r.do(c.Context(), http.MethodGet, "/_modulebus/v1/modules", nil); err == nil {
		list, _ := parseModules(out)
		for _, m := range list.Modules {
			names = append(names, m.Name)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	if conf, err := readConfig(r.file()); err == nil {
		for _, m := range conf.Modules {
			names = append(names, m.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (r *remote) file() string {
	if r.config == "" {
		return defaultConfig
	}
	return r.config
}
