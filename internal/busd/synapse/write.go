package synapse

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// Write prints modules as entries of busd.yaml, with remarks. surveys are those of h.Modules, in their order; command is
// the program that runs each.
func Write(w io.Writer, h Homeserver, surveys []Survey, command string) error {
	var out strings.Builder
	out.WriteString("# Put an entry into busd.yaml, and take it out of homeserver.yaml: one module at a time.\n")
	if !h.Bridged {
		out.WriteString("# Synapse asks busd when modulebus_synapse.ModuleBus is among its modules: docs/synapse.md.\n")
	}
	if len(h.Modules) == 0 {
		out.WriteString("modules: []\n")
	} else {
		out.WriteString("modules:\n")
	}
	names := map[string]int{}
	for i, e := range h.Modules {
		if err := entry(&out, e, surveys[i], unique(names, e.Name()), command); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// unique makes a name that no entry has yet.
func unique(names map[string]int, name string) string {
	names[name]++
	if n := names[name]; n > 1 {
		return unique(names, name+"-"+strconv.Itoa(n))
	}
	return name
}

// entry writes one entry. An entry that cannot run is written as a comment, so that the rest can be used unchanged.
func entry(out *strings.Builder, e Entry, s Survey, name, command string) error {
	for _, remark := range s.remarks(e, command) {
		fmt.Fprintf(out, "  # %s\n", remark)
	}
	text, err := yaml.Dump([]any{node(e, s, name, command)}, yaml.WithIndent(2))
	if err != nil {
		return fmt.Errorf("%s: %w", e.Class, err)
	}
	margin := "  "
	if len(s.Uses) > 0 {
		margin = "  # "
	}
	for line := range strings.Lines(string(text)) {
		out.WriteString(margin + line)
	}
	return nil
}

func node(e Entry, s Survey, name, command string) *yaml.Node {
	run := []string{command, e.Class}
	if e.Section != "" {
		run = append(run, "--section", e.Section)
	}
	if len(s.Uses) > 0 {
		run = append(run, "--tolerate", s.tolerated())
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	n.Content = append(n.Content, scalar("module"), scalar(name), scalar("run"), flow(run))
	if e.Config != nil && e.Config.Tag != "!!null" {
		quoteMarks(e.Config)
		n.Content = append(n.Content, scalar("config"), e.Config)
	}
	if grants := s.Grants(); len(grants) > 0 {
		n.Content = append(n.Content, scalar("grants"), flow(grants))
	}
	return n
}

// quoteMarks puts texts that have marks of direction into double quotes: commands print the marks as \u200f, and that is the same there alone.
func quoteMarks(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && strings.ContainsFunc(n.Value, func(r rune) bool { return unicode.Is(unicode.Bidi_Control, r) }) {
		n.Style = yaml.DoubleQuotedStyle
	}
	for _, inner := range n.Content {
		quoteMarks(inner)
	}
}

func scalar(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
}

func flow(texts []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}
	for _, text := range texts {
		n.Content = append(n.Content, scalar(text))
	}
	return n
}

// shown is how many of the places that keep a module in Synapse's process are named.
const shown = 3

// remarks says whether the module can run, and what the operator must check.
func (s Survey) remarks(e Entry, command string) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	title := strings.TrimSpace(s.Module + " " + s.Version)
	switch {
	case s.Problem != "":
		say("%s: %s. Whether it can run was not looked at, nor which grants it needs: give --python of Synapse's environment.", title, s.Problem)
		return all
	case len(s.Uses) > 0:
		say("%s: cannot run out of Synapse's process, and stays in homeserver.yaml.", title)
		for _, u := range s.Uses[:min(len(s.Uses), shown)] {
			say("%s:%d uses %s.", u.File, u.Line, u.Name)
		}
		say("If your configuration never comes there, this runs it all the same:")
	default:
		say("%s: can run. %s is in the environment of matrix-synapse and the module.", title, command)
	}
	if e.Section != "" {
		say("Take it out of %s in homeserver.yaml.", e.Section)
	}
	if len(s.Missing) > 0 {
		say("It imports %s, which is not installed: install that beside it.", strings.Join(s.Missing, ", "))
	}
	for _, name := range s.unknown() {
		say("It registers %s, which Synapse does not ask.", name)
	}
	if !s.Registers && e.Section == "" {
		say("Its Python registers no callbacks and no page: if nothing else does, nothing is asked of it.")
	}
	for _, path := range s.Pages {
		say("It has a page: add %s to web of modulebus_synapse.ModuleBus.", path)
	}
	return all
}
