package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/broker"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/policyserver"
)

// judgeTime is how long modules may take to judge their configuration.
const judgeTime = time.Minute

type check struct {
	file             string
	modules, offline bool
}

func newCheck() *cobra.Command {
	k := &check{}
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Read a configuration and say every mistake in it, or how it is understood",
		Long: `Read a configuration and say every mistake in it, or how it is understood: each key that there is, with its default if the
file does not say it. Files and programs that the configuration names are looked at, and so are the nodes of nats.url,
unless --offline is given.

With --modules, each program of run is started once, beside a NATS server of its own, to judge its config; its other
effects are real. Without, what stands in config is not looked at.

Warnings go to stderr. The exit status is 2 if there is a mistake.`,
		Args: arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				k.file = args[0]
			}
			return k.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
		},
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}
	configFlag(c, &k.file, defaultConfig)
	c.Flags().BoolVar(&k.modules, "modules", false, "start each program of run once, to have it judge its config")
	c.Flags().BoolVar(&k.offline, "offline", false, "do not connect to the nodes of nats.url")
	return c
}

func (k *check) run(ctx context.Context, out, warnings io.Writer) error {
	conf, err := readConfig(k.file)
	if err != nil {
		return err
	}
	problems, odd := conf.CheckFiles()
	for _, w := range append(odd, conf.Warnings...) {
		fmt.Fprintf(warnings, "%v (warning)\n", w)
	}
	if len(problems) == 0 {
		problems = conf.CheckKeyFile(policyserver.CheckKey)
	}
	if len(problems) > 0 {
		return usageError{problems}
	}
	if !k.offline && conf.NATS.URL != "" {
		for _, err := range broker.Probe(conf.NATS) {
			fmt.Fprintf(warnings, "%s: %v (warning: a connection that moves there would fail)\n", k.file, err)
		}
	}
	if k.modules {
		if err := judge(ctx, conf, warnings); err != nil {
			return err
		}
	}
	return conf.Describe(out)
}

// judge makes the modules that busd would run judge their configuration.
func judge(ctx context.Context, conf *config.Config, warnings io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, judgeTime)
	defer cancel()
	verdicts, err := busd.Judge(ctx, conf, zerolog.Nop())
	if err != nil {
		return err
	}
	var problems config.Errors
	for i, v := range verdicts {
		switch {
		case v.Skipped:
			fmt.Fprintf(warnings, "%v (warning)\n", conf.ProblemOf(i, "is not run by busd, so its config was not judged"))
		case v.Wrong != "":
			problems = append(problems, conf.ProblemOf(i, v.Wrong))
		}
	}
	if len(problems) > 0 {
		return usageError{problems}
	}
	return nil
}
