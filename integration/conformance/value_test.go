package conformance_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Python's values are as encoding/json reads them, with numbers as they are written. What JSON has no type for is an
// object with a tag: {"$":"tuple","items":[…]}.

func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

// tag is which tagged value it is; empty for others.
func tag(v any) string {
	name, _ := object(v)["$"].(string)
	return name
}

// items are those of a tagged collection.
func items(v any) []any {
	all, _ := object(v)["items"].([]any)
	return all
}

// tuple returns the items of a tuple of two.
func tuple(v any) (first, second any, ok bool) {
	all := items(v)
	if tag(v) != "tuple" || len(all) != 2 {
		return nil, nil, false
	}
	return all[0], all[1], true
}

// dict returns a plain dict.
func dict(v any) (map[string]any, bool) {
	return object(v), object(v) != nil && tag(v) == ""
}

// integer returns an int, which a bool and a float are not.
func integer(v any) (int64, bool) {
	number, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := number.Int64()
	return n, err == nil
}

func float(v any) float64 {
	number, _ := v.(json.Number)
	f, _ := number.Float64()
	return f
}

// truthy is Python's bool(v).
func truthy(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case json.Number:
		return float(v) != 0
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		switch tag(v) {
		case "":
			return len(v) > 0
		case "tuple", "set", "frozenset", "dict":
			return len(items(v)) > 0
		}
		return true
	}
	return false
}

// notSpam reports whether the value is NOT_SPAM, or a string that equals it.
func notSpam(v any) bool { return tag(v) == "NOT_SPAM" || v == "NOT_SPAM" }

// codeOf returns what a value of the enum Codes stands for.
func codeOf(v any) (string, bool) {
	c, ok := object(v)["value"].(string)
	return c, ok && tag(v) == "Codes"
}

// encoded is the JSON of a value, with members in order of their names.
func encoded(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // What was decoded can be encoded.
	}
	return bytes.TrimSpace(b.Bytes())
}

// decoded is the value of JSON; nil for none.
func decoded(raw []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if len(raw) > 0 && d.Decode(&v) != nil {
		return string(raw)
	}
	return v
}

// sortedSet is a list in which order does not matter.
func sortedSet(all []string) []string {
	sorted := append([]string{}, all...)
	slices.Sort(sorted)
	return sorted
}

// pythonList is how Python prints a list of strings.
func pythonList(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = fmt.Sprintf("'%s'", s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// optional returns a string, nil where there is none.
func optional(v any) *string {
	if s, ok := v.(string); ok {
		return &s
	}
	return nil
}

// untagged is a value with the tags of what has named fields taken off: what the JSON mapping of a message is.
func untagged(v any) any {
	switch v := v.(type) {
	case []any:
		all := []any{}
		for _, item := range v {
			all = append(all, untagged(item))
		}
		return all
	case map[string]any:
		return untaggedObject(v)
	}
	return v
}

func untaggedObject(o map[string]any) any {
	switch tag(o) {
	case "":
		return o // Raw JSON, of the client's or of an event.
	case "state_map", "tuple", "set":
		return untagged(items(o))
	case "RoomAlias":
		return "#" + strings.TrimPrefix(o["localpart"].(string), "#") + ":" + o["domain"].(string)
	}
	fields := map[string]any{}
	for name, value := range o {
		switch name {
		case "$":
		case "json":
			fields[name] = value
		default:
			fields[name] = untagged(value)
		}
	}
	return fields
}
