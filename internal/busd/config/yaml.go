package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxFile is the size of busd.yaml, in bytes. Beyond: the file is refused.
const maxFile = 1 << 20

// root reads data as one YAML document and returns its content. ok is false if there is none.
func (r *reading) root(data []byte) (root value, ok bool) {
	root = value{reading: r, node: &yaml.Node{Kind: yaml.MappingNode, Tag: tagMap, Line: 1, Column: 1}}
	root.used = root.node
	if len(data) > maxFile {
		root.fail("is larger than 1 MiB")
		return root, false
	}
	if i := unreadable(data); i >= 0 {
		line, column := position(data, i)
		at := &yaml.Node{Line: line, Column: column}
		root.at(at, "").fail("this is not text (the file must be UTF-8, without control characters)")
		return root, false
	}
	return root.document(data)
}

func (v value) document(data []byte) (root value, ok bool) {
	documents, err := load(data)
	if err != nil {
		v.notYAML(data, err)
	}
	if len(documents) > 1 {
		v.at(documents[1], "").fail("a second document begins here (write everything into the first)")
	}
	if len(documents) > 0 && !v.at(documents[0].Content[0], "").null() {
		v.node = documents[0].Content[0]
		v.used = v.node
	}
	return v, err == nil || len(documents) > 0
}

// load reads documents up to the second, or the first mistake.
func load(data []byte) (documents []*yaml.Node, _ error) {
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithUniqueKeys(false))
	for err == nil && len(documents) < 2 {
		var n yaml.Node
		if err = loader.Load(&n); err == nil {
			documents = append(documents, &n)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return documents, err
}

// notYAML reports the library's error. Its texts for single characters and for aliases are replaced: operators see them
// when they forget quotes, and an alias may be a password that begins with a star.
func (v value) notYAML(data []byte, err error) {
	var found *yaml.LoadError
	if !errors.As(err, &found) {
		v.fail("this is not YAML")
		return
	}
	at := &yaml.Node{Line: max(1, found.Mark.Line), Column: max(1, found.Mark.Column)}
	v.at(at, "").fail("this is not YAML: %s", explain(data, found))
}

func explain(data []byte, found *yaml.LoadError) string {
	switch {
	case strings.HasPrefix(found.Message, "unknown anchor"):
		return "an alias without an anchor (text that begins with * needs quotes)"
	case !strings.HasPrefix(found.Message, "found character that cannot start"):
		return found.Message + began(found)
	case indentedByTab(data, found.Mark.Line):
		return "a line is indented by a tab (use spaces)"
	}
	return "no value begins with this character (put text in quotes)"
}

// began says where a construct began, if that is on another line than the mistake.
func began(found *yaml.LoadError) string {
	if found.ContextMark.Line == 0 || found.ContextMark.Line == found.Mark.Line {
		return ""
	}
	return fmt.Sprintf(" (%s that begins at line %d)", found.ContextMsg, found.ContextMark.Line)
}

func indentedByTab(data []byte, line int) bool {
	for range line - 1 {
		_, data, _ = bytes.Cut(data, []byte("\n"))
	}
	data = bytes.TrimLeft(data, " ")
	return len(data) > 0 && data[0] == '\t'
}

// unreadable returns the index of the first byte that YAML does not allow, or -1.
func unreadable(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 || r < ' ' && !strings.ContainsRune("\t\n\r", r) || r == 0xFFFE || r == 0xFFFF {
			return i
		}
		i += size
	}
	return -1
}

func position(data []byte, i int) (line, column int) {
	start := bytes.LastIndexByte(data[:i], '\n') + 1
	return 1 + bytes.Count(data[:i], []byte("\n")), 1 + utf8.RuneCount(data[start:i])
}
