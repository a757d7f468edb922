// Package cli is the busd command. Each command has a file; root.go has what they share, and remote.go what those share
// that ask a running busd.
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

	"github.com/modulebus/modulebus/internal/busd/config"
)

// Exit statuses.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2
	exitDiffers = 3 // of busd replay

	exitIncorrect = 4 // of busd verify
)

// usageError is an error in the command line or in a file that the operator wrote.
type usageError struct{ error }

// Unwrap returns the cause.
func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Streams are a command's input and outputs.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Execute runs the command in args until it is done or ctx ends, and returns its exit status. Only answers go to
// stdout; errors and logs go to stderr. Each flag is also an environment variable: BUSD_ and its name.
func Execute(ctx context.Context, args []string, s Streams) int {
	root := newRoot(s) //nolint:contextcheck // Commands get ctx when they run.
	completion(root)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errDiffers) {
		return exitDiffers
	}
	if errors.Is(err, errIncorrect) {
		return exitIncorrect
	}
	fmt.Fprintln(shown{s.Err}, complaint(err))
	if _, usage := errors.AsType[usageError](err); usage {
		return exitUsage
	}
	return exitFailed
}

// complaint is the text that is printed for an error. A mistake in a file begins with the file's name and position, so
// that editors find it.
func complaint(err error) string {
	if problems, ok := errors.AsType[config.Errors](err); ok {
		return problems.Error()
	}
	return "busd: " + err.Error()
}

// Command returns busd's command tree, from which man pages and completions are made.
func Command() *cobra.Command { return newRoot(Streams{}) }

func newRoot(s Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "busd",
		Short: "Out-of-process modules for Matrix homeservers, over NATS",
		Long: `Out-of-process modules for Matrix homeservers, over NATS.

Every flag is also an environment variable: --log-level is BUSD_LOG_LEVEL, --url is BUSD_URL.`,
		Version:           "set", // The template below prints the version.
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              known,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(c *cobra.Command, _ []string) error { return fromEnvironment(c.Flags(), os.LookupEnv) },
	}
	root.SetVersionTemplate(versionText())
	root.SetIn(s.In)
	root.SetOut(shown{s.Out})
	root.SetErr(shown{s.Err})
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usagef("%w; see %s --help", err, c.CommandPath()) })
	root.AddCommand(newAsk(), newExplain(), newTail(), newReplay(), newShadow())
	root.AddCommand(newServe(s), newCheck(), newModules(), newRestart(), newHealth(), newCallbacks(), newPolicy(), newImport(), newVerify(),
		newVersion(), newCredentials(), newNATSConfig())
	return root
}

// completion adds cobra's command, which takes any word for a shell, and has it refuse those that it does not know.
func completion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = known, func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
}

// known refuses arguments that are not commands.
func known(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range c.Commands() {
		names = append(names, sub.Name())
	}
	return usagef("unknown command %q; %s", args[0], config.DidYouMean(args[0], names, "see "+c.CommandPath()+" --help"))
}

// fromEnvironment sets the flags that were not given from BUSD_… .
func fromEnvironment(flags *pflag.FlagSet, lookup func(string) (string, bool)) (err error) {
	flags.VisitAll(func(f *pflag.Flag) {
		name := "BUSD_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		if value, ok := lookup(name); ok && !f.Changed && err == nil {
			if err = flags.Set(f.Name, value); err != nil {
				err = usagef("%s: %w", name, err)
			}
		}
	})
	return err
}

// arguments demands a number of arguments between least and most.
func arguments(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return usagef("%s lacks an argument: %s; see %s --help", c.CommandPath(), c.UseLine(), c.CommandPath())
		case len(args) > most:
			return usagef("%s does not take %q: %s; see %s --help", c.CommandPath(), args[most], c.UseLine(), c.CommandPath())
		case len(args) > 0 && args[0] == "":
			return usagef("the first argument of %s is empty: %s; see %s --help", c.CommandPath(), c.UseLine(), c.CommandPath())
		}
		return nil
	}
}

// configFlag is the flag that names the configuration.
func configFlag(c *cobra.Command, file *string, otherwise string) {
	c.Flags().StringVarP(file, "config", "c", otherwise, "the configuration `file`")
}

const defaultConfig = "busd.yaml"

// readConfig reads the file. Its error says each mistake in a line of its own.
func readConfig(file string) (*config.Config, error) {
	c, err := config.Read(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, usagef("there is no %s: name the configuration with --config", file)
	case err != nil:
		return nil, usageError{err}
	}
	return c, nil
}

// words completes a flag with the given words.
func words(c *cobra.Command, flag string, words ...string) {
	// It fails only for flags that do not exist.
	_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}
