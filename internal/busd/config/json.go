package config

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// config returns v as the JSON that a module gets. As in Synapse, a value that is false in Python becomes an empty
// mapping.
func (v value) config() json.RawMessage {
	b := v.appendJSON(nil)
	switch string(b) {
	case `null`, `false`, `""`, `[]`:
		return json.RawMessage(`{}`)
	}
	if f, err := strconv.ParseFloat(string(b), 64); err == nil && f == 0 {
		return json.RawMessage(`{}`)
	}
	if b[0] != '{' {
		v.fail("must be a mapping, not %s: modules get settings by name", v.typeName())
	}
	return b
}

// appendJSON appends v as JSON, in the order of the file. A number keeps its spelling if JSON allows it.
func (v value) appendJSON(b []byte) []byte {
	ok := false
	switch v.tag() {
	case tagMap:
		return v.appendObject(b)
	case tagList:
		return v.appendArray(b)
	case tagText, tagDate:
		return appendQuoted(b, v.node.Value)
	case tagNull:
		return append(b, "null"...)
	case tagMerge, tagValue:
		v.fail("%s alone means nothing to Synapse (put it in quotes)", v.node.Value)
		return append(b, "null"...)
	case tagInt:
		b, ok = v.appendInteger(b)
	case tagFloat:
		b, ok = v.appendFloat(b)
	case tagBool:
		b, ok = v.appendBool(b)
	}
	if !ok {
		v.fail("is %s that JSON cannot carry", v.typeName())
		b = append(b, "null"...)
	}
	return b
}

func (v value) appendObject(b []byte) []byte {
	b = append(b, '{')
	for i, p := range v.mapping() {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendQuoted(b, p.name), ':')
		b = p.value.appendJSON(b)
	}
	return append(b, '}')
}

func (v value) appendArray(b []byte) []byte {
	b = append(b, '[')
	for i, item := range v.items() {
		if i > 0 {
			b = append(b, ',')
		}
		b = item.appendJSON(b)
	}
	return append(b, ']')
}

func (v value) appendBool(b []byte) ([]byte, bool) {
	truth, ok := boolean(v.node.Value)
	if !ok {
		return b, false
	}
	return strconv.AppendBool(b, truth), true
}

func (v value) appendInteger(b []byte) ([]byte, bool) {
	n, ok := integer(v.node.Value)
	if !ok {
		return b, false
	}
	return n.Append(b, 10), true
}

// jsonFloat matches a number whose spelling is a float in both YAML 1.1 and JSON, and that readers of JSON do not read
// as an integer.
var jsonFloat = regexp.MustCompile(`^-?(0|[1-9][0-9]*)\.[0-9]+([eE][-+]?[0-9]+)?$`)

func (v value) appendFloat(b []byte) ([]byte, bool) {
	f, ok := float(v.node.Value)
	switch {
	case !ok || math.IsInf(f, 0) || math.IsNaN(f):
		return b, false
	case jsonFloat.MatchString(v.node.Value):
		return append(b, v.node.Value...), true
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return append(b, text...), true
}

// appendQuoted is [strconv.AppendQuote] for JSON. It does not escape <, > and &.
func appendQuoted(b []byte, s string) []byte {
	buffer := bytes.NewBuffer(b)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // a string always encodes, and a buffer always takes it
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
}
