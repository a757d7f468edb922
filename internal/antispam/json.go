package antispam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// raw is a JSON value, or nil where there is none.
type raw json.RawMessage

// UnmarshalJSON implements [json.Unmarshaler].
func (v *raw) UnmarshalJSON(data []byte) error {
	*v = bytes.Clone(data)
	return nil
}

func (v raw) null() bool { return v == nil || string(v) == "null" }

// list returns the items, unless it is no list.
func (v raw) list() (items []raw, ok bool) {
	return items, !v.null() && json.Unmarshal(v, &items) == nil
}

// scalar returns a string or a boolean.
func (v raw) scalar(k protoreflect.Kind, path string) (protoreflect.Value, error) {
	var text string
	var truth bool
	switch {
	case v == nil:
		return protoreflect.Value{}, fmt.Errorf("field %s: is missing", path)
	case k == protoreflect.BoolKind && !v.null() && json.Unmarshal(v, &truth) == nil:
		return protoreflect.ValueOfBool(truth), nil
	case k == protoreflect.StringKind && !v.null() && json.Unmarshal(v, &text) == nil:
		return protoreflect.ValueOfString(text), nil
	}
	return protoreflect.Value{}, mistyped(path, map[bool]string{true: "true or false", false: "a string"}[k == protoreflect.BoolKind])
}

func mistyped(path, want string) error { return fmt.Errorf("field %s: must be %s", path, want) }

func parseObject(data []byte) (object map[string]raw, ok bool) {
	err := json.Unmarshal(data, &object)
	return object, err == nil && object != nil
}

// parse returns any JSON. Numbers stay as they are written.
func parse(data []byte) (v any, err error) {
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
