// Package synapse makes entries of busd.yaml of the modules in a homeserver.yaml.
package synapse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxFile is the size of homeserver.yaml, in bytes. Beyond: it is refused.
const maxFile = 1 << 20

// maxNodes is how many values modules have in homeserver.yaml, aliases unfolded. Beyond: it is refused.
const maxNodes = 100_000

// bridge is the module that asks busd. It stays in homeserver.yaml.
const bridge = "modulebus_synapse."

// Entry is a module in homeserver.yaml.
type Entry struct {
	// Class is its dotted name, such as package.Class. Never empty.
	Class string

	// Config is what it is configured with; nil for nothing. Aliases and anchors are resolved.
	Config *yaml.Node
}

// Name is a name for the module in busd.yaml, made of its package's.
func (e Entry) Name() string {
	top, _, _ := strings.Cut(e.Class, ".")
	return strings.ReplaceAll(strings.Trim(top, "_"), "_", "-")
}

// Homeserver is what a homeserver.yaml says of modules.
type Homeserver struct {
	Modules []Entry
	Bridged bool     // one of its modules is the bridge, which is none of Modules
	Legacy  []string // keys of the interfaces before modules, which have something in them
}

// legacy are those keys.
var legacy = []string{"password_providers", "spam_checker", "third_party_event_rules"}

// Read reads a homeserver.yaml. The error says where what is wrong.
func Read(r io.Reader) (Homeserver, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return Homeserver{}, err
	}
	if len(data) > maxFile {
		return Homeserver{}, errors.New("is larger than 1 MiB")
	}
	var document yaml.Node
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithUniqueKeys(false))
	if err == nil {
		err = loader.Load(&document)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return Homeserver{}, notYAML(err)
	}
	if len(document.Content) == 0 {
		return Homeserver{}, nil
	}
	return homeserver(document.Content[0])
}

// notYAML says where the file is none, and repeats nothing of it: there may be a password.
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
	for _, key := range legacy {
		if n := get(root, key); n != nil && len(n.Content) > 0 {
			h.Legacy = append(h.Legacy, key)
		}
	}
	modules := get(root, "modules")
	if modules == nil || modules.Tag == "!!null" {
		return h, nil
	}
	if modules.Kind != yaml.SequenceNode {
		return h, fmt.Errorf("line %d: modules must be a list", modules.Line)
	}
	left := maxNodes
	for _, n := range modules.Content {
		if err := h.add(resolved(n, &left)); err != nil {
			return h, err
		}
	}
	if left == 0 {
		return h, fmt.Errorf("line %d: modules: with their aliases, they have more than %d values", modules.Line, maxNodes)
	}
	return h, nil
}

func (h *Homeserver) add(n *yaml.Node) error {
	class := get(n, "module")
	if class == nil || class.Kind != yaml.ScalarNode || class.Value == "" {
		return fmt.Errorf("line %d: module is missing (a class, such as package.Class)", n.Line)
	}
	if strings.HasPrefix(class.Value, bridge) {
		h.Bridged = true
		return nil
	}
	h.Modules = append(h.Modules, Entry{Class: class.Value, Config: get(n, "config")})
	return nil
}

// get returns the value of a key, the last if there are several, as Synapse has it; nil if there is none.
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

// resolved returns a copy that stands by itself: anchors may be elsewhere in the file. It takes what it copies off left, and
// ends when nothing is: an alias may stand in what it names.
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
