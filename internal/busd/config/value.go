package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// What bounds the reading of a file: how deep it may nest, how much there may be to read when aliases are followed
// (in bytes of scalars and in nodes), and how many problems are worth a look. The library checks the first two only
// when it builds Go values, and then reports a single mistake, without its path.
const (
	maxDepth    = 100         // lists and mappings in each other, in busd.yaml. Beyond: the file is refused.
	maxRead     = 4 * maxFile // bytes of busd.yaml, when its aliases are followed. Beyond: the file is refused.
	maxProblems = 1000        // problems of a file that are reported. Beyond: the rest is left out.
)

// reading collects what is found while a file is read.
type reading struct {
	file     string
	folder   string // in which relative paths start
	read     int    // of maxRead
	gaveUp   bool
	problems Errors
	warnings Errors
	named    []named   // files and programs
	places   []Problem // of the modules
	last     []func()  // checks of what has been read
}

// value is a node of the file, and its place.
type value struct {
	*reading
	node  *yaml.Node // never an alias
	used  *yaml.Node // where the file uses it: the alias, or node
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
	v.problems = append(v.problems, v.problem(v.node, format, args...))
	if len(v.problems) == maxProblems {
		v.giveUp("there may be more problems after these %d", maxProblems)
	}
}

// lacks reports that a key is missing, at the place where the file uses the value, not at an anchor that other places
// use, too.
func (v value) lacks(key, hint string) { v.at(v.used, step(key)).fail("is missing %s", hint) }

// warn reports something that is allowed but probably a mistake.
func (v value) warn(format string, args ...any) {
	if len(v.warnings) < maxProblems {
		v.warnings = append(v.warnings, v.problem(v.node, format, args...))
	}
}

// finally makes check run when the whole file is read.
func (v value) finally(check func()) { v.last = append(v.last, check) }

func (v value) problem(at *yaml.Node, format string, args ...any) Problem {
	return Problem{v.file, at.Line, at.Column, v.path(), fmt.Sprintf(format, args...)}
}

// giveUp reports a last problem. From then on, lists and mappings read as empty, and their values as null.
func (v value) giveUp(format string, args ...any) {
	if !v.gaveUp {
		v.gaveUp = true
		v.problems = append(v.problems, v.problem(v.node, format, args...))
	}
}

func (v value) at(n *yaml.Node, step string) value {
	return value{reading: v.reading, node: n, used: n, up: &v, step: step, depth: v.depth + 1}
}

// child returns the value of n, a node in v; it follows an alias.
func (v value) child(n *yaml.Node, step string) value {
	c := v.at(n, step)
	for c.node.Kind == yaml.AliasNode {
		c.node = c.node.Alias
	}
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
		c.node = &yaml.Node{Kind: yaml.ScalarNode, Line: n.Line, Column: n.Column}
	}
	return c
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

const (
	tagMap  = "!!map"
	tagList = "!!seq"
)

// types has, for each tag, the kind of its nodes and a name for people.
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
	tagValue:  {yaml.ScalarNode, "a value key"},
	tagBinary: {yaml.ScalarNode, "binary data"},
}

// tag returns one of the tags in types, or "" for a tag of the file's own.
func (v value) tag() string {
	tag := v.node.ShortTag()
	if v.node.Kind == yaml.ScalarNode && v.node.Style == 0 {
		tag = plainTag(v.node.Value)
	}
	if types[tag].kind == v.node.Kind {
		return tag
	}
	return ""
}

// typeName names v's type, for people.
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

// mapping lists the pairs of v in the order of the file, then those that are merged into it.
func (v value) mapping() []pair {
	if v.tag() != tagMap {
		v.fail("must be a mapping, not %s", v.typeName())
		return nil
	}
	m := mappingReader{into: v, lines: map[string]int{}}
	for i := 0; i+1 < len(v.node.Content) && !v.gaveUp; i += 2 {
		m.add(v.node.Content[i], v.node.Content[i+1])
	}
	for _, merged := range slices.Backward(m.merged) { // Python's dictionary keeps the last.
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

// merge adds the pairs whose keys are not there yet. In a list of mappings, earlier ones have precedence.
func (m *mappingReader) merge(v value) {
	switch v.tag() {
	case tagMap:
		for _, p := range v.mapping() {
			if _, given := m.lines[p.name]; !given {
				m.put(p)
			}
		}
	case tagList:
		for _, n := range v.node.Content {
			m.merge(v.child(n, ""))
		}
	default:
		v.fail("<< merges a mapping, or a list of mappings, not %s", v.typeName())
	}
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

// quotes is the advice to quote a text that YAML reads as another type.
func (v value) quotes() string {
	if tag := v.tag(); slices.Contains([]string{tagInt, tagFloat, tagBool, tagDate}, tag) && v.node.Style == 0 {
		return " (put it in quotes)"
	}
	return ""
}

func (v value) argument() string {
	if !slices.Contains([]string{tagText, tagInt, tagFloat, tagBool, tagDate}, v.tag()) {
		v.fail("must be text, not %s", v.typeName())
	}
	if strings.Contains(v.node.Value, "\x00") {
		v.fail("has a zero byte, which no program can be given")
	}
	return v.node.Value
}

func (v value) integer() (int64, bool) {
	n, ok := integer(v.node.Value)
	if !ok || v.tag() != tagInt || !n.IsInt64() {
		return 0, false
	}
	return n.Int64(), true
}

// notInteger describes v, which is not a whole number.
func (v value) notInteger() string {
	if tag := v.tag(); tag == tagInt || tag == tagFloat {
		return quote(v.node.Value)
	}
	return v.typeName()
}

// unitless says what a number alone means.
func (v value) unitless() string {
	if n, ok := v.integer(); ok {
		return fmt.Sprintf(": a number without a unit is milliseconds (did you mean %ds?)", n)
	}
	return ""
}

func (v value) duration() (time.Duration, error) {
	if n, ok := v.integer(); ok {
		return ParseDuration(strconv.FormatInt(n, 10))
	}
	return ParseDuration(v.node.Value)
}

func (v value) off() bool {
	truth, ok := boolean(v.node.Value)
	return ok && !truth && v.tag() == tagBool || v.tag() == tagText && v.node.Value == off
}
