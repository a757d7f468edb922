package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// callbackJSON is one callback of the catalogue.
type callbackJSON struct {
	Category           string                 `json:"category"`
	Callback           string                 `json:"callback"`
	Description        string                 `json:"description"`
	Rule               string                 `json:"rule"`
	OnFailure          string                 `json:"on_failure"`
	OnFailureFederated string                 `json:"on_failure_federated,omitempty"`
	Speculative        bool                   `json:"speculative"`
	AtLeastOnce        bool                   `json:"at_least_once,omitempty"` // deliver: at_least_once of a module holds for it
	Since              string                 `json:"since"`
	Request            []fieldJSON            `json:"request"`
	Reply              []fieldJSON            `json:"reply"`
	Types              map[string][]fieldJSON `json:"types,omitempty"` // of the fields, by name
	order              []string               // the names in Types, in order of first use
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
		ValidArgsFunction: completeCallbacks,
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func selected(names []string) ([]callbackJSON, error) {
	if len(names) > 0 {
		d, ok := subjects.Find(names[0])
		if !ok {
			return nil, unknownCallback(names[0])
		}
		return []callbackJSON{describe(d)}, nil
	}
	list := []callbackJSON{}
	for _, d := range subjects.All() {
		if !d.FollowUp() {
			list = append(list, describe(d))
		}
	}
	return list, nil
}

func unknownCallback(name string) error {
	var names []string
	for _, d := range subjects.All() {
		names = append(names, d.Name)
	}
	return usagef("there is no callback %q (%s)", name, config.DidYouMean(name, names, "busd callbacks lists them"))
}

func describe(d *subjects.Declaration) callbackJSON {
	v := declared.Of(d)
	c := callbackJSON{
		Category:    d.Category.Name,
		Callback:    d.Name,
		Description: comment(d),
		Rule:        d.Options.GetRule().String(),
		OnFailure:   strings.ToLower(d.Options.GetOnFailure().String()),
		Speculative: d.Options.GetSpeculative(),
		AtLeastOnce: d.Options.GetAtLeastOnce(),
		Since:       d.Options.GetSince(),
		Types:       map[string][]fieldJSON{},
	}
	if d.KnowsOrigin() {
		c.OnFailureFederated = strings.ToLower(d.Options.GetOnFailureFederated().String())
	}
	c.Request, c.Reply = c.fields(v.RequestFields), c.fields(v.ReplyFields)
	return c
}

// fields describes fields, and adds their types to Types.
func (c *callbackJSON) fields(all protoreflect.FieldDescriptors) []fieldJSON {
	list := []fieldJSON{}
	for i := range all.Len() {
		f := all.Get(i)
		list = append(list, fieldJSON{string(f.Name()), wire.Form(f)})
		if f.IsMap() {
			f = f.MapValue()
		}
		c.typed(f.Message())
	}
	return list
}

// typed adds a message of ours to Types, once.
func (c *callbackJSON) typed(m protoreflect.MessageDescriptor) {
	if m == nil || strings.HasPrefix(string(m.FullName()), "google.") {
		return
	}
	name := string(m.Name())
	if _, met := c.Types[name]; met {
		return
	}
	c.order = append(c.order, name)
	c.Types[name] = nil // This ends the recursion of a type that contains itself.
	c.Types[name] = c.fields(m.Fields())
}

var rpc = regexp.MustCompile(`((?:[ \t]*//.*\n)+)[ \t]*rpc ([A-Za-z0-9]+)\(`)

// comments are the declarations' comments, by a callback's name without underscores.
var comments = func() map[string]string {
	found := map[string]string{}
	files, _ := fs.Glob(schemas.Files, "callbacks/v1/*.proto") // The pattern is good.
	for _, file := range files {
		text, _ := fs.ReadFile(schemas.Files, file) // It is embedded.
		for _, m := range rpc.FindAllSubmatch(text, -1) {
			found[strings.ToLower(string(m[2]))] = string(m[1])
		}
	}
	return found
}()

// comment returns the callback's comment in its declaration: when it is asked, and what answers mean.
func comment(d *subjects.Declaration) string {
	var lines []string
	for line := range strings.Lines(comments[strings.ReplaceAll(d.Name, "_", "")]) {
		lines = append(lines, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "//")))
	}
	text := strings.Join(lines, "\n")
	if first, rest, ok := strings.Cut(text, " "); ok && strings.EqualFold(first, strings.ReplaceAll(d.Name, "_", "")) {
		text = d.Name + " " + rest
	}
	return text
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

// delivery says how an operator has the callback's news delivered at least once.
func (c callbackJSON) delivery() string {
	if c.AtLeastOnce {
		return "of a module holds for it"
	}
	return "holds where it is named"
}

func printCallback(w io.Writer, c callbackJSON) error {
	fmt.Fprintf(w, "%s.%s\n", c.Category, c.Callback)
	if c.Description != "" {
		fmt.Fprintf(w, "\n%s\n\n", c.Description)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "rule\t%s\non failure\t%s\nasked ahead\t%s\nsince Synapse\t%s\n", c.Rule, c.policy(), yesNo(c.Speculative), c.Since)
	if c.Rule == callbacksv1.Rule_NOTIFY.String() {
		fmt.Fprintf(t, "deliver: at_least_once\t%s\n", c.delivery())
	}
	printFields(t, "request", c.Request)
	printFields(t, "reply", c.Reply)
	for _, name := range c.order {
		printFields(t, name, c.Types[name])
	}
	return t.Flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func printFields(w io.Writer, of string, fields []fieldJSON) {
	for _, f := range fields {
		fmt.Fprintf(w, "%s\t%s\t%s\n", of, f.Name, f.Type)
	}
}
