package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/modulebus/modulebus/internal/busd/synapse"
)

// surveyTime is how long the sources of modules may take to read.
const surveyTime = time.Minute

// moduleCommand runs a module of Synapse's.
const moduleCommand = "modulebus-synapse-module"

type imports struct{ python string }

func newImport() *cobra.Command {
	i := &imports{}
	c := &cobra.Command{
		Use:   "import HOMESERVER.YAML",
		Short: "Print the modules of a homeserver.yaml as entries for busd.yaml, with remarks",
		Long: `Print the modules of a homeserver.yaml as entries for busd.yaml: how each is run, its config, and the grants that it needs, with
remarks whether it can run out of Synapse's process and why not. What cannot is printed as a comment.

Grants and remarks come from the modules' sources, which are read and not run. Say with --python where they are: the
Python of the environment in which Synapse has them, such as /opt/synapse/venv/bin/python.`,
		Args: arguments(1, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return i.run(c.Context(), args[0], c.OutOrStdout(), c.ErrOrStderr())
		},
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}
	c.Flags().StringVar(&i.python, "python", "", "the `program` that is Python where the modules are installed (default python3)")
	return c
}

func (i *imports) run(ctx context.Context, file string, out, warnings io.Writer) error {
	f, err := os.Open(file)
	if err != nil {
		return usagef("%w: say where Synapse's homeserver.yaml is", err)
	}
	defer f.Close()
	h, err := synapse.Read(f)
	if errors.Is(err, syscall.EISDIR) {
		return usagef("%s is a folder: name a file in it, such as homeserver.yaml, and run this once for each", file)
	}
	if err != nil {
		return usagef("%s: %w", file, err)
	}
	surveys, err := i.look(ctx, h.Modules, warnings)
	if err != nil {
		return err
	}
	return synapse.Write(out, h, surveys, i.command())
}

// command is the program of run lines.
func (i *imports) command() string {
	if i.python == "" {
		return filepath.Join("venv", "bin", moduleCommand)
	}
	return filepath.Join(filepath.Dir(i.python), moduleCommand)
}

// look reads the modules' sources. Without a Python, every module counts as one that could not be read.
func (i *imports) look(ctx context.Context, modules []synapse.Entry, warnings io.Writer) ([]synapse.Survey, error) {
	classes := make([]string, len(modules))
	surveys := make([]synapse.Survey, len(modules))
	for k, e := range modules {
		classes[k] = e.Class
		surveys[k] = synapse.Survey{Module: e.Class, Problem: "was not read"}
	}
	if len(classes) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	found, err := synapse.Look(ctx, cmp.Or(i.python, "python3"), classes)
	switch {
	case err == nil:
		return found, nil
	case i.python != "":
		return nil, err
	}
	fmt.Fprintf(warnings, "busd: cannot read the modules' sources: %v\n", err)
	return surveys, nil
}
