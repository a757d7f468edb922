package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// What bounds the reading of a file: how deep it may nest, how much there may be to read when aliases are followed
// (in bytes of scalars and in nodes), and how many problems are worth a look.
const (
	maxDepth    = 100
	maxRead     = 4 * maxFile
	maxProblems = 1000
)

// decoder collects the problems of one file.
type decoder struct {
	file     string
	read     int // of maxRead
	gaveUp   bool
	problems Errors
}

// value is a node of the file together with its place.
type value struct {
	*decoder
	node  *yaml.Node // never an alias
	up    *value
	step  string // from up: ".timeout" or "[1]"
	depth int
}

func (v value) path() string {
	var steps []string
	for at := &v; at != nil; at = at.up {
		steps = append(steps, at.step)
	}
	slices.Reverse(steps)
	return strings.TrimPrefix(strings.Join(steps, ""), ".")
}

// fail reports a problem of the value.
func (v value) fail(format string, args ...any) {
	if v.gaveUp {
		return
	}
	v.problems = append(v.problems, v.problem(format, args...))
	if len(v.problems) == maxProblems {
		v.giveUp("there may be more problems after these %d", maxProblems)
	}
}

func (v value) problem(format string, args ...any) Problem {
	return Problem{v.file, v.node.Line, v.node.Column, v.path(), fmt.Sprintf(format, args...)}
}

// giveUp reports a last problem. From then on, lists and mappings read as empty, and what they hold as null.
func (v value) giveUp(format string, args ...any) {
	if !v.gaveUp {
		v.gaveUp = true
		v.problems = append(v.problems, v.problem(format, args...))
	}
}

// named returns what key stands for in v, with at for its position.
func (v value) named(key string, at *yaml.Node) value {
	return v.at(at, step(key))
}

func (v value) at(n *yaml.Node, step string) value {
	return value{decoder: v.decoder, node: n, up: &v, step: step, depth: v.depth + 1}
}

// child returns what n, which v holds, stands for.
func (v value) child(n *yaml.Node, step string) value {
	c := v.at(followed(n), step)
	v.read += 1 + len(c.node.Value)
	switch {
	case c.node != n && v.within(c.node):
		c.giveUp("contains itself (by the anchor %s)", quote(n.Value))
	case c.depth > maxDepth:
		c.giveUp("is nested more than %d deep", maxDepth)
	case v.read > maxRead:
		c.giveUp("aliases make the file too large to read")
	}
	if v.gaveUp {
		c.node = &yaml.Node{Kind: yaml.ScalarNode, Tag: tagNull, Line: n.Line, Column: n.Column}
	}
	return c
}

func followed(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// within reports whether v is n or inside of it.
func (v value) within(n *yaml.Node) bool {
	for at := &v; at != nil; at = at.up {
		if at.node == n {
			return true
		}
	}
	return false
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func step(key string) string {
	if plainKey.MatchString(key) {
		return "." + key
	}
	return "[" + quote(key) + "]"
}

// The tags that mean something here.
const (
	tagMap    = "!!map"
	tagList   = "!!seq"
	tagText   = "!!str"
	tagInt    = "!!int"
	tagFloat  = "!!float"
	tagBool   = "!!bool"
	tagNull   = "!!null"
	tagDate   = "!!timestamp"
	tagMerge  = "!!merge"
	tagBinary = "!!binary"
)

// types tells of each tag what it is put on, and how to call that.
var types = map[string]struct {
	kind yaml.Kind
	name string
}{
	tagMap:    {yaml.MappingNode, "a mapping"},
	tagList:   {yaml.SequenceNode, "a list"},
	tagText:   {yaml.ScalarNode, "text"},
	tagInt:    {yaml.ScalarNode, "a number"},
	tagFloat:  {yaml.ScalarNode, "a number"},
	tagBool:   {yaml.ScalarNode, "a boolean"},
	tagNull:   {yaml.ScalarNode, "nothing"},
	tagDate:   {yaml.ScalarNode, "a date"},
	tagMerge:  {yaml.ScalarNode, "a merge key"},
	tagBinary: {yaml.ScalarNode, "binary data"},
}

// tag returns one of those tags, or nothing.
func (v value) tag() string {
	tag := v.node.ShortTag()
	if types[tag].kind == v.node.Kind {
		return tag
	}
	return ""
}

// typeName names what v is, for a person.
func (v value) typeName() string {
	if tag := v.tag(); tag != "" {
		return types[tag].name
	}
	return "a value with a tag of its own"
}

func (v value) null() bool { return v.tag() == tagNull }

// pair is a key of a mapping and its value. Both have the path of the value.
type pair struct {
	name       string
	key, value value
}

// mapping lists what v holds in the order of the file, then what is merged into it.
func (v value) mapping() []pair {
	if v.tag() != tagMap {
		v.fail("must be a mapping, not %s", v.typeName())
		return nil
	}
	m := mappingReader{into: v, lines: map[string]int{}}
	for i := 0; i+1 < len(v.node.Content) && !v.gaveUp; i += 2 {
		m.add(v.node.Content[i], v.node.Content[i+1])
	}
	for _, merged := range m.merged {
		m.merge(merged)
	}
	return m.pairs
}

type mappingReader struct {
	into   value
	pairs  []pair
	lines  map[string]int // of each key
	merged []value
}

func (m *mappingReader) add(key, val *yaml.Node) {
	k := m.into.child(key, "")
	switch k.tag() {
	case tagMerge:
		m.merged = append(m.merged, m.into.child(val, ""))
	case tagMap, tagList, tagNull, "":
		k.fail("a key must be text, not %s", k.typeName())
	default:
		name := k.node.Value
		k.step = step(name)
		m.put(pair{name, k, m.into.child(val, k.step)})
	}
}

func (m *mappingReader) put(p pair) {
	if line, twice := m.lines[p.name]; twice {
		p.key.fail("is given twice (first in line %d)", line)
		return
	}
	m.lines[p.name] = p.key.node.Line
	m.pairs = append(m.pairs, p)
}

func (m *mappingReader) putNew(p pair) {
	if _, given := m.lines[p.name]; !given {
		m.put(p)
	}
}

// merge adds what is not there yet. Of several merged mappings the first has the first word.
func (m *mappingReader) merge(v value) {
	switch v.tag() {
	case tagMap:
		for _, p := range v.mapping() {
			m.putNew(p)
		}
	case tagList:
		for _, n := range v.node.Content {
			m.merge(v.child(n, ""))
		}
	default:
		v.fail("<< merges a mapping, or a list of mappings, not %s", v.typeName())
	}
}

// field is a key that a mapping may have.
type field struct {
	key  string
	read func(value)
}

// object is what a mapping has: no key whose value is null.
type object map[string]value

func (o object) has(key string) bool { _, ok := o[key]; return ok }

// fields reads the mapping v, which may have those fields and no others.
func (v value) fields(fields ...field) object {
	found := object{}
	for _, p := range v.mapping() {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == p.name })
		switch {
		case i < 0:
			p.key.fail("is not a known key (%s)", didYouMean(p.name, keys(fields), "known here: "+strings.Join(keys(fields), ", ")))
		case !p.value.null():
			found[p.name] = p.value
			fields[i].read(p.value)
		}
	}
	return found
}

func keys(fields []field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.key
	}
	return names
}

// items lists what the list v holds.
func (v value) items() []value {
	if v.tag() != tagList {
		v.fail("must be a list, not %s", v.typeName())
		return nil
	}
	var items []value
	for i, n := range v.node.Content {
		if v.gaveUp {
			return nil
		}
		items = append(items, v.child(n, "["+strconv.Itoa(i)+"]"))
	}
	return items
}
