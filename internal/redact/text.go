package redact

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

const (
	// mark stands where a secret was.
	mark = "[redacted]"

	// shortest is the length of what is looked for, in bytes. What is shorter stands in other words by chance, and to take it
	// out there would tell it.
	shortest = 4

	// beginning is how much of a value, in bytes, is enough to know it at the end of a text, where somebody has cut it.
	beginning = 8

	// maxCut is how much of a secret is looked for at the end of a text, in bytes. Beyond: it is not looked for, since texts that
	// were cut are not longer.
	maxCut = 512

	// maxValues is how many secrets are looked for. Beyond: nothing of the text is left.
	maxValues = 1024
)

// Text is what somebody says about a message, such as a module that failed to answer it, without what the message has in
// fields that are declared with debug_redact. A text can be wrong in every way; of no message, it is as it was.
// It is for texts that are about to be printed, and takes time for each value that is secret.
func Text(text string, about proto.Message) string {
	if text == "" || about == nil || !holds(about.ProtoReflect().Descriptor()) {
		return text
	}
	return without(text, valuesOf(about))
}

// without takes values off a text, the first ones first.
func without(text string, values []string) string {
	if len(values) > maxValues {
		return mark
	}
	for _, value := range values {
		text = cut(strings.ReplaceAll(text, value, mark), value)
	}
	return text
}

// cut takes the beginning of a value off the end of a text.
func cut(text, value string) string {
	for n := min(len(value), len(text), maxCut); n >= beginning; n-- {
		if begun, ok := strings.CutSuffix(text, value[:n]); ok {
			return begun + mark
		}
	}
	return text
}

// valuesOf are the secrets of a message, the longest first, as they may be spelled.
func valuesOf(m proto.Message) (values []string) {
	add := func(value string) { values = addSpellings(values, value) }
	walk(m.ProtoReflect(), func(_ protoreflect.Message, f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if secret(f) {
			each(f, v, func(f protoreflect.FieldDescriptor, v protoreflect.Value) { leaves(f, v, add) })
			return true
		}
		return false
	})
	return longestFirst(values)
}

func longestFirst(values []string) []string {
	slices.SortStableFunc(values, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return slices.Compact(values)
}

// addSpellings adds a value as it may be spelled, if it is looked for.
func addSpellings(values []string, value string) []string {
	if len(value) < shortest {
		return values
	}
	return append(values, spellings(value)...)
}

// leaves adds the texts of a value.
func leaves(f protoreflect.FieldDescriptor, v protoreflect.Value, add func(string)) {
	switch {
	case f.Message() != nil:
		walk(v.Message(), func(_ protoreflect.Message, f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			each(f, v, func(f protoreflect.FieldDescriptor, v protoreflect.Value) { leaves(f, v, add) })
			return true
		})
	case f.Kind() == protoreflect.StringKind:
		add(v.String())
	case f.Kind() == protoreflect.BytesKind && f.Options() != nil && proto.GetExtension(f.Options(), callbacksv1.E_RawJson).(bool):
		leavesOfJSON(v.Bytes(), add)
	case f.Kind() == protoreflect.BytesKind:
		add(string(v.Bytes()))
	}
}

// leavesOfJSON adds the texts and numbers in a JSON value; all of it if it is none.
func leavesOfJSON(raw []byte, add func(string)) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		add(string(raw))
	}
	leavesOf(v, add)
}

func leavesOf(v any, add func(string)) {
	switch v := v.(type) {
	case string:
		add(v)
	case json.Number:
		add(v.String())
	case []any:
		for _, one := range v {
			leavesOf(one, add)
		}
	case map[string]any:
		for _, one := range v {
			leavesOf(one, add)
		}
	}
}

// spellings of a value: as it is, and as JSON and Go write it.
func spellings(value string) []string {
	inJSON, _ := json.Marshal(value) // It cannot fail.
	inGo := strconv.Quote(value)
	return []string{value, string(inJSON[1 : len(inJSON)-1]), inGo[1 : len(inGo)-1]}
}

var held sync.Map // protoreflect.FullName → bool

// holds reports whether messages of the type can have secrets in them.
func holds(d protoreflect.MessageDescriptor) bool {
	if known, ok := held.Load(d.FullName()); ok {
		return known.(bool)
	}
	found := search(d, map[protoreflect.FullName]bool{})
	held.Store(d.FullName(), found)
	return found
}

func search(d protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if seen[d.FullName()] {
		return false
	}
	seen[d.FullName()] = true
	for i := range d.Fields().Len() {
		f := d.Fields().Get(i)
		if secret(f) || f.Message() != nil && search(f.Message(), seen) {
			return true
		}
	}
	return false
}
