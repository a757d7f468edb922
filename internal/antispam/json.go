package antispam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// raw is a JSON value as it is written, or nil where there is none. It is a part of what [valid] has looked at, so that it is
// read without looking for mistakes again.
type raw []byte

// valid returns the value that some JSON is; nil unless it is JSON, which is UTF-8. Source: RFC 8259, section 8.1. Synapse and the
// package read nothing else.
func valid(data []byte) raw {
	if !json.Valid(data) || !utf8.Valid(data) {
		return nil
	}
	s := scanner{text: data}
	return s.value()
}

func (v raw) null() bool { return v == nil || string(v) == "null" }

// object is the members of one, in their order. Their keys are as they are written.
type object []struct{ key, value raw }

// get returns what a key has, nil for none. Of two with one key, the last one counts.
func (o object) get(key string) raw {
	for _, m := range slices.Backward(o) {
		if m.key.says(key) {
			return m.value
		}
	}
	return nil
}

// object returns the members, unless it is no object.
func (v raw) object() (members object, ok bool) {
	if len(v) == 0 || v[0] != '{' {
		return nil, false
	}
	members = make(object, 0, 4) // As many as most questions have.
	for s := (scanner{v, 1}); s.more('}'); {
		key := s.value()
		s.skip(':')
		members = append(members, struct{ key, value raw }{key, s.value()})
	}
	return members, true
}

// says reports whether a string says the text.
func (v raw) says(text string) bool {
	if bytes.IndexByte(v, '\\') < 0 {
		return string(v[1:len(v)-1]) == text
	}
	got, _ := v.text()
	return got == text
}

// list returns the items, unless it is no list.
func (v raw) list() (items []raw, ok bool) {
	if len(v) == 0 || v[0] != '[' {
		return nil, false
	}
	for s := (scanner{v, 1}); s.more(']'); {
		items = append(items, s.value())
	}
	return items, true
}

// text returns what a string says, unless it is no string.
func (v raw) text() (text string, ok bool) {
	if len(v) == 0 || v[0] != '"' {
		return "", false
	}
	if plain := v[1 : len(v)-1]; bytes.IndexByte(plain, '\\') < 0 {
		return string(plain), true
	}
	return text, json.Unmarshal(v, &text) == nil
}

// scalar returns a string or a boolean.
func (v raw) scalar(k protoreflect.Kind, path string) (protoreflect.Value, error) {
	switch {
	case v == nil:
		return protoreflect.Value{}, fmt.Errorf("field %s: is missing", path)
	case k == protoreflect.StringKind:
		if text, ok := v.text(); ok {
			return protoreflect.ValueOfString(text), nil
		}
		return protoreflect.Value{}, mistyped(path, "a string")
	case string(v) == "true", string(v) == "false":
		return protoreflect.ValueOfBool(v[0] == 't'), nil
	}
	return protoreflect.Value{}, mistyped(path, "true or false")
}

// scanner finds where values end in JSON that is known to be valid.
type scanner struct {
	text []byte
	at   int
}

// more reports whether there is another member or item before the end.
func (s *scanner) more(end byte) bool {
	s.skip(',')
	return s.text[s.at] != end
}

// skip passes over spaces, and over a sign if it comes next.
func (s *scanner) skip(sign byte) {
	s.space()
	if s.text[s.at] == sign {
		s.at++
		s.space()
	}
}

func (s *scanner) space() {
	for s.at < len(s.text) && s.text[s.at] <= ' ' {
		s.at++
	}
}

// value returns the value that comes next.
func (s *scanner) value() raw {
	s.space()
	start := s.at
	for depth := 0; s.at < len(s.text); {
		switch s.text[s.at] {
		case '"':
			s.str()
		case '{', '[':
			s.at++
			depth++
			continue
		case '}', ']':
			s.at++
			depth--
		case ',', ':', ' ', '\t', '\n', '\r':
			s.at++
		default:
			s.word()
		}
		if depth == 0 {
			break
		}
	}
	return s.text[start:s.at]
}

// str passes over a string.
func (s *scanner) str() {
	for s.at++; s.text[s.at] != '"'; s.at++ {
		if s.text[s.at] == '\\' {
			s.at++
		}
	}
	s.at++
}

// word passes over a number, true, false or null.
func (s *scanner) word() {
	for s.at < len(s.text) && strings.IndexByte(",:]} \t\n\r", s.text[s.at]) < 0 {
		s.at++
	}
}

func mistyped(path, want string) error { return fmt.Errorf("field %s: must be %s", path, want) }

// parse returns any JSON. Numbers stay as they are written.
func parse(data []byte) (v any, err error) {
	if !utf8.Valid(data) {
		return nil, ErrNotJSON
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err = d.Decode(&v); err == nil {
		if _, end := d.Token(); end != io.EOF {
			return nil, ErrNotJSON
		}
	}
	return v, err
}

// appendCanonical writes a parsed value as Matrix has it canonical: keys in order, no spaces, all characters as themselves
// that may be. Source: Matrix specification, Appendices, "Canonical JSON".
func appendCanonical(out []byte, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		out = append(out, '{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			out = append(appendString(separated(out, i), key), ':')
			out = appendCanonical(out, v[key])
		}
		return append(out, '}')
	case []any:
		out = append(out, '[')
		for i, item := range v {
			out = appendCanonical(separated(out, i), item)
		}
		return append(out, ']')
	case string:
		return appendString(out, v)
	case json.RawMessage:
		return append(out, v...)
	}
	return fmt.Append(out, word(v)) // A number, true, false or null.
}

func word(v any) any {
	if v == nil {
		return "null"
	}
	return v
}

func separated(out []byte, index int) []byte {
	if index > 0 {
		out = append(out, ',')
	}
	return out
}

var short = map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}

func appendString(out []byte, s string) []byte {
	out = append(out, '"')
	for _, r := range s {
		if escape, ok := short[r]; ok {
			out = append(out, escape...)
		} else if r < ' ' {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return append(out, '"')
}
