// Package cli is the busd command.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is what the operator has to write differently.
type usageError struct{ error }

// Streams are where a command reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Execute runs the command that args say, until it is done or ctx ends, and returns its exit status. stdout carries
// answers only; errors and logs go to stderr. Each flag is also an environment variable, BUSD_ and its name.
func Execute(ctx context.Context, args []string, s Streams) int {
	root := newRoot(s) //nolint:contextcheck // Commands get ctx when they run.
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintln(s.Err, err)
		return exitUsage
	}
	fmt.Fprintln(s.Err, "busd:", err)
	return exitFailed
}

func newRoot(s Streams) *cobra.Command {
	root := &cobra.Command{
		Use:               "busd",
		Short:             "Out-of-process modules for Matrix homeservers, over NATS",
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              known,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return fromEnvironment(c.Flags(), os.LookupEnv) },
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%s: %w; see %s --help", c.CommandPath(), err, c.CommandPath())}
	})
	root.AddCommand(newServe(s), newCheck(), newAsk(), newModules(), newCallbacks(), newVersion())
	return root
}

// known wants no arguments that are not commands.
func known(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usageError{fmt.Errorf("%s: unknown command %q; see %s --help", c.CommandPath(), args[0], c.CommandPath())}
}

// fromEnvironment sets the flags that were not given from BUSD_… .
func fromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		name := "BUSD_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, ok := lookup(name); ok && !f.Changed && err == nil {
			if err = flags.Set(f.Name, value); err != nil {
				err = usageError{fmt.Errorf("%s: %w", name, err)}
			}
		}
	})
	return err
}

// arguments wants a number of arguments between least and most.
func arguments(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := cobra.RangeArgs(least, most)(c, args); err != nil {
			return usageError{fmt.Errorf("%s: %w; see %s --help", c.CommandPath(), err, c.CommandPath())}
		}
		return nil
	}
}
