package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/internal/busd/verify"
)

// errIncorrect is the error of a module that breaks a rule; the report says which.
var errIncorrect = errors.New("the module breaks a rule")

type verification struct {
	asJSON, verbose bool
	junit, config   string
}

func newVerify() *cobra.Command {
	v := &verification{}
	c := &cobra.Command{
		Use:   "verify -- COMMAND [ARG…]",
		Short: "Say whether a program is a correct module, rule by rule",
		Long: `Say whether a program is a correct module, rule by rule, each with the section of docs/protocol.md that explains it.

The command is started as busd would start it, beside a NATS server of its own, with the permissions that modules have, and a busd
that follows a script. It is asked what it registers, with made-up requests: its effects are real. Its calls of the Module API are
answered with made-up values, or refused, and nothing comes of them.

The exit status is 4 if it breaks a rule.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("names no program; write it after two dashes: busd verify -- COMMAND [ARG…]")
			}
			return v.run(c, args)
		},
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}
	c.Flags().BoolVar(&v.asJSON, "json", false, "print the report as JSON")
	c.Flags().StringVar(&v.junit, "junit", "", "write the report to a `file` in JUnit's XML, too")
	c.Flags().StringVar(&v.config, "module-config", "{}", "the module's config, a JSON `object`")
	c.Flags().BoolVar(&v.verbose, "output", false, "show on stderr what the module writes")
	return c
}

func (v *verification) run(c *cobra.Command, command []string) error {
	o := verify.Options{Command: command, Config: json.RawMessage(v.config)}
	var object map[string]json.RawMessage
	if json.Unmarshal(o.Config, &object) != nil || object == nil {
		return usagef("--module-config is not a JSON object (try '{\"deny\": []}')")
	}
	if v.verbose {
		o.Output = c.ErrOrStderr()
	}
	if !v.asJSON {
		o.Verified = func(r verify.Result) { fmt.Fprintln(c.OutOrStdout(), r.Line()) }
	}
	report, err := verify.Run(c.Context(), o)
	if err != nil {
		return err
	}
	return v.print(c.OutOrStdout(), report)
}

func (v *verification) print(out io.Writer, report *verify.Report) error {
	if v.junit != "" {
		if err := writeJUnit(v.junit, report); err != nil {
			return err
		}
	}
	if v.asJSON {
		if err := report.WriteJSON(out); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(out, report.Summary())
	}
	if !report.Correct {
		return errIncorrect
	}
	return nil
}

func writeJUnit(file string, report *verify.Report) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(report.WriteJUnit(f), f.Close())
}
