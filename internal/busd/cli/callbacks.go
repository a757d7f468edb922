package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

// callbackJSON is one callback of the catalogue.
type callbackJSON struct {
	Category           string      `json:"category"`
	Callback           string      `json:"callback"`
	Rule               string      `json:"rule"`
	OnFailure          string      `json:"on_failure"`
	OnFailureFederated string      `json:"on_failure_federated,omitempty"`
	Speculative        bool        `json:"speculative"`
	Since              string      `json:"since"`
	Request            []fieldJSON `json:"request"`
	Reply              []fieldJSON `json:"reply"`
}

type fieldJSON struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

func newCallbacks() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "callbacks [NAME]",
		Short: "Print the catalogue of callbacks, or one of them with its fields",
		Args:  arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			list, err := selected(args)
			switch {
			case err != nil:
				return err
			case asJSON:
				raw, err := json.Marshal(list)
				if err != nil {
					return err
				}
				return printJSON(c.OutOrStdout(), raw)
			case len(args) > 0:
				return printCallback(c.OutOrStdout(), list[0])
			}
			return printCallbacks(c.OutOrStdout(), list)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func selected(names []string) ([]callbackJSON, error) {
	list := []callbackJSON{}
	for _, d := range subjects.All() {
		if len(names) == 0 && !d.FollowUp() || len(names) > 0 && (names[0] == d.Name || names[0] == d.FullName()) {
			list = append(list, describe(d))
		}
	}
	if len(list) == 0 {
		return nil, usageError{fmt.Errorf("there is no callback %q; busd callbacks lists them", names[0])}
	}
	return list, nil
}

func describe(d *subjects.Declaration) callbackJSON {
	c := callbackJSON{
		Category:    d.Category.Name,
		Callback:    d.Name,
		Rule:        d.Options.GetRule().String(),
		OnFailure:   strings.ToLower(d.Options.GetOnFailure().String()),
		Speculative: d.Options.GetSpeculative(),
		Since:       d.Options.GetSince(),
		Request:     fields(declared.Of(d).RequestFields),
		Reply:       fields(declared.Of(d).ReplyFields),
	}
	if d.KnowsOrigin() {
		c.OnFailureFederated = strings.ToLower(d.Options.GetOnFailureFederated().String())
	}
	return c
}

func fields(all protoreflect.FieldDescriptors) []fieldJSON {
	list := []fieldJSON{}
	for i := range all.Len() {
		list = append(list, fieldJSON{string(all.Get(i).Name()), wire.TypeName(all.Get(i))})
	}
	return list
}

func printCallbacks(w io.Writer, list []callbackJSON) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CATEGORY\tCALLBACK\tRULE\tON FAILURE\tSINCE")
	for _, c := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", c.Category, c.Callback, c.Rule, c.policy(), c.Since)
	}
	return t.Flush()
}

func (c callbackJSON) policy() string {
	if c.OnFailureFederated == "" {
		return c.OnFailure
	}
	return fmt.Sprintf("%s (federated: %s)", c.OnFailure, c.OnFailureFederated)
}

func printCallback(w io.Writer, c callbackJSON) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s.%s\n", c.Category, c.Callback)
	fmt.Fprintf(t, "rule\t%s\non failure\t%s\nsince Synapse\t%s\n", c.Rule, c.policy(), c.Since)
	for _, f := range c.Request {
		fmt.Fprintf(t, "request\t%s\t%s\n", f.Name, f.Type)
	}
	for _, f := range c.Reply {
		fmt.Fprintf(t, "reply\t%s\t%s\n", f.Name, f.Type)
	}
	return t.Flush()
}

// wireVersion is that of the subjects and messages.
const wireVersion = "1"

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			version, commit := build()
			_, err := fmt.Fprintf(c.OutOrStdout(), "busd %s\ncommit %s\n%s\nwire %s\n", version, commit, runtime.Version(), wireVersion)
			return err
		},
	}
}

func build() (version, commit string) {
	version, commit = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, commit
	}
	version = info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			commit = s.Value
		}
	}
	return version, commit
}
