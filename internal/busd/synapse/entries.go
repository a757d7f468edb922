// Package synapse turns the modules in a homeserver.yaml into entries for busd.yaml.
package synapse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxFile is the size of homeserver.yaml, in bytes. Beyond: it is refused.
const maxFile = 1 << 20

// maxNodes is how many values modules have in homeserver.yaml, aliases unfolded. Beyond: it is refused.
const maxNodes = 100_000

// bridge is the module that asks busd. It stays in homeserver.yaml.
const bridge = "modulebus_synapse."

// isClass matches what Synapse can load: Python's import takes hyphens, too.
var isClass = regexp.MustCompile(`^[\pL_][\pL\pN_-]*(\.[\pL_][\pL\pN_-]*)+$`)

// Entry is a module in homeserver.yaml.
type Entry struct {
	// Class is its dotted name, such as package.Class. Never empty.
	Class string

	// Section is the key of homeserver.yaml that the module is below if it has an interface older than modules; otherwise
	// empty.
	Section string

	// Config is the module's configuration; nil if it has none. Aliases and anchors are resolved.
	Config *yaml.Node
}

// Name returns a name for the module in busd.yaml, made from its package's name.
func (e Entry) Name() string {
	top, _, _ := strings.Cut(e.Class, ".")
	return strings.ReplaceAll(strings.Trim(top, "_"), "_", "-")
}

// Homeserver is what a homeserver.yaml says of modules.
type Homeserver struct {
	Modules []Entry
	Bridged bool // the bridge is among its modules; Modules does not contain it
}

// The sections of interfaces that are older than modules.
const (
	spamChecker    = "spam_checker"
	eventRules     = "third_party_event_rules"
	presenceRouter = "presence_router"
	passwords      = "password_providers"
)

const (
	modulesKey = "modules"
	presence   = "presence"    // has the router below it
	ldapConfig = "ldap_config" // is the configuration of the one provider that was a part of Synapse

	ldapProvider  = "ldap_auth_provider.LdapAuthProvider"
	ldapInSynapse = "synapse.util.ldap_auth_provider.LdapAuthProvider"
)

// Read reads a homeserver.yaml. The error says where and what is wrong.
func Read(r io.Reader) (Homeserver, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return Homeserver{}, err
	}
	if len(data) > maxFile {
		return Homeserver{}, errors.New("is larger than 1 MiB")
	}
	document, err := load(data)
	if err != nil || len(document.Content) == 0 {
		return Homeserver{}, err
	}
	return homeserver(document.Content[0])
}

// load returns the one document of a file; none if it is empty.
func load(data []byte) (document yaml.Node, err error) {
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithUniqueKeys(false))
	if err == nil {
		err = loader.Load(&document)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return document, notYAML(err)
	}
	var second yaml.Node
	if err == nil && loader.Load(&second) == nil {
		return document, fmt.Errorf("line %d: a second document begins here, and Synapse reads one", second.Line)
	}
	return document, nil
}

// notYAML says where the file is not YAML. It repeats nothing of the file, which may contain a password.
func notYAML(err error) error {
	if found, ok := errors.AsType[*yaml.LoadError](err); ok {
		return fmt.Errorf("line %d: this is not YAML", max(1, found.Mark.Line))
	}
	return errors.New("this is not YAML")
}

func homeserver(root *yaml.Node) (h Homeserver, err error) {
	if root.Kind != yaml.MappingNode {
		return h, fmt.Errorf("line %d: this is no homeserver.yaml (it must have keys, such as modules)", root.Line)
	}
	left := maxNodes
	for _, l := range lists(root) {
		for _, n := range l.entries {
			if err := h.add(l.section, resolved(n, &left)); err != nil {
				return h, err
			}
		}
		switch {
		case l.wrong != nil:
			return h, l.wrong
		case left == 0:
			return h, fmt.Errorf("line %d: %s: with their aliases, they have more than %d values", l.entries[0].Line, l.key, maxNodes)
		}
	}
	return h, nil
}

// list holds the entries of one section.
type list struct {
	key     string // in homeserver.yaml
	section string // as entries have it
	entries []*yaml.Node
	wrong   error
}

// lists returns the lists of a homeserver.yaml, in the order in which Synapse loads them.
func lists(root *yaml.Node) []list {
	all := []list{
		listOf("", modulesKey, get(root, modulesKey), false),
		listOf(spamChecker, spamChecker, get(root, spamChecker), true),
		listOf(eventRules, eventRules, get(root, eventRules), true),
	}
	if p := get(root, presence); p != nil {
		all = append(all, listOf(presenceRouter, presence+"."+presenceRouter, get(p, presenceRouter), true))
	}
	if l := get(root, ldapConfig); l != nil {
		if enabled := get(l, "enabled"); enabled != nil && strings.EqualFold(enabled.Value, "true") {
			all = append(all, list{key: ldapConfig, section: passwords, entries: []*yaml.Node{{
				Kind: yaml.MappingNode, Line: l.Line, Content: []*yaml.Node{scalar("module"), scalar(ldapProvider), scalar("config"), l},
			}}})
		}
	}
	return append(all, listOf(passwords, passwords, get(root, passwords), false))
}

// listOf returns the entries below a key. Some keys accept one entry instead of a list.
func listOf(section, key string, n *yaml.Node, single bool) list {
	switch {
	case n == nil || n.Tag == "!!null" || len(n.Content) == 0 && n.Kind != yaml.ScalarNode:
		return list{key: key, section: section}
	case n.Kind == yaml.SequenceNode:
		return list{key: key, section: section, entries: n.Content}
	case n.Kind == yaml.MappingNode && single:
		return list{key: key, section: section, entries: []*yaml.Node{n}}
	}
	return list{key: key, section: section, wrong: fmt.Errorf("line %d: %s must be a list", n.Line, key)}
}

func (h *Homeserver) add(section string, n *yaml.Node) error {
	class := merged(n, "module")
	if class == nil || class.Kind != yaml.ScalarNode || class.Value == "" {
		return fmt.Errorf("line %d: module is missing (a class, such as package.Class)", n.Line)
	}
	if !isClass.MatchString(class.Value) {
		return fmt.Errorf("line %d: module must be a class with its package, such as package.Class", class.Line)
	}
	if strings.HasPrefix(class.Value, bridge) {
		h.Bridged = true
		return nil
	}
	name := class.Value
	if name == ldapInSynapse {
		name = ldapProvider
	}
	h.Modules = append(h.Modules, Entry{Class: name, Section: section, Config: merged(n, "config")})
	return nil
}

// get returns the value of a key; nil if there is none. As in Synapse, the last of several counts.
func get(mapping *yaml.Node, key string) (found *yaml.Node) {
	if mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			found = mapping.Content[i+1]
		}
	}
	if found != nil && found.Kind == yaml.AliasNode {
		found = found.Alias
	}
	return found
}

// merged is get for a mapping that may have others merged into it, with <<. Aliases must be resolved.
func merged(mapping *yaml.Node, key string) *yaml.Node {
	if found := get(mapping, key); found != nil {
		return found
	}
	others := get(mapping, "<<")
	switch {
	case others == nil:
		return nil
	case others.Kind != yaml.SequenceNode:
		return merged(others, key)
	}
	for _, other := range others.Content { // The first that has it counts.
		if found := merged(other, key); found != nil {
			return found
		}
	}
	return nil
}

// resolved returns a copy in which aliases are replaced by what they name. It subtracts each copied value from left,
// and stops at zero, because an alias may contain itself.
func resolved(n *yaml.Node, left *int) *yaml.Node {
	for n.Kind == yaml.AliasNode && *left > 0 {
		n, *left = n.Alias, *left-1
	}
	c := *n
	c.Anchor, c.Content = "", nil
	for _, child := range n.Content {
		if *left > 0 {
			*left--
			c.Content = append(c.Content, resolved(child, left))
		}
	}
	return &c
}
