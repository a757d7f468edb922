package config

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// config returns v as the JSON that a module gets. As in Synapse, what Python takes for false is an empty mapping.
func (v value) config() json.RawMessage {
	b := v.appendJSON(nil)
	switch string(b) {
	case `null`, `false`, `0`, `0.0`, `-0`, `-0.0`, `""`, `[]`:
		return json.RawMessage(`{}`)
	}
	return b
}

// appendJSON appends v as JSON: in its order, and with its numbers as they are written where JSON writes them so, too.
func (v value) appendJSON(b []byte) []byte {
	ok := true
	switch v.tag() {
	case tagMap:
		b = v.appendObject(b)
	case tagList:
		b = v.appendArray(b)
	case tagText, tagDate, tagMerge:
		b = v.appendText(b)
	case tagInt, tagFloat:
		b, ok = v.appendNumber(b)
	case tagBool:
		b, ok = v.appendBool(b)
	case tagNull:
		b = append(b, "null"...)
	default:
		ok = false
	}
	if !ok {
		v.fail("is %s that JSON cannot carry", v.typeName())
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

// appendText takes Synapse's booleans for such if they are neither quoted nor tagged.
func (v value) appendText(b []byte) []byte {
	if truth, ok := booleans[v.node.Value]; ok && v.node.Style == 0 {
		return strconv.AppendBool(b, truth)
	}
	return appendQuoted(b, v.node.Value)
}

func (v value) appendBool(b []byte) ([]byte, bool) {
	truth, ok := booleans[v.node.Value]
	return strconv.AppendBool(b, truth), ok
}

// booleans are YAML 1.1's, as Synapse reads them. YAML 1.2 knows but true and false, and takes the others for text.
var booleans = func() map[string]bool {
	m := map[string]bool{}
	for word, truth := range map[string]bool{"true": true, "yes": true, "on": true, "false": false, "no": false, "off": false} {
		m[word], m[strings.ToUpper(word)], m[strings.ToUpper(word[:1])+word[1:]] = truth, truth, truth
	}
	return m
}()

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

func (v value) appendNumber(b []byte) ([]byte, bool) {
	s := v.node.Value
	if jsonNumber.MatchString(s) {
		return append(b, s...), true
	}
	s = strings.ReplaceAll(s, "_", "")
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return strconv.AppendInt(b, n, 10), true
	}
	if n, err := strconv.ParseUint(strings.TrimPrefix(s, "+"), 0, 64); err == nil {
		return strconv.AppendUint(b, n, 10), true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return b, false
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64), true
}

// appendQuoted is [strconv.AppendQuote] for JSON, and leaves <, > and & alone.
func appendQuoted(b []byte, s string) []byte {
	buffer := bytes.NewBuffer(b)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(s) // a string always encodes, and a buffer always takes it
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n"))
}
