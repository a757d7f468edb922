package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// ErrNotJSON is what [FromJSON] returns for bytes that are no JSON object at all.
var ErrNotJSON = errors.New("not a JSON object")

// ToJSON returns m in the JSON mapping. Names are those of the .proto, fields that are not optional are always there, raw
// JSON is nested as it is, and all else is in one line.
func ToJSON(m proto.Message) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return nil, err
	}
	md := m.ProtoReflect().Descriptor()
	if !holdsRaw(md) {
		return compact.Bytes(), nil
	}
	return rewriter{nest, false}.object(md, "", compact.Bytes())
}

// FromJSON sets m from the JSON mapping. Unknown fields are skipped, or an error if strict. Half a surrogate pair becomes
// U+FFFD, except in raw JSON, which is kept byte for byte. Errors name the field and never repeat a value, or the key of
// a map.
func FromJSON(data []byte, m proto.Message, strict bool) error {
	data = bytes.TrimSpace(data)
	if !json.Valid(data) || data[0] != '{' {
		return ErrNotJSON
	}
	raw, err := rewriter{wrap, true}.object(m.ProtoReflect().Descriptor(), "", data)
	if err != nil {
		return err
	}
	return discreet(protojson.UnmarshalOptions{DiscardUnknown: !strict}.Unmarshal(mendSurrogates(raw), m))
}

// What protojson says, up to the value. It randomises its error text to discourage parsing. If a pattern stops matching,
// discreet falls back to a message without a field's name.
var (
	unknownField = regexp.MustCompile(`^proto:.\(line \d+:\d+\): (unknown|duplicate) field "([^"]*)"`)
	badValue     = regexp.MustCompile(`^proto:.\(line \d+:\d+\): invalid value for (\w+) field (\w+):`)
)

// discreet says what protojson says, without the value.
func discreet(err error) error {
	if err == nil {
		return nil
	}
	if m := unknownField.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s field %q", m[1], m[2])
	}
	if m := badValue.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("field %s: must be of type %s", snake(m[2]), m[1])
	}
	return errors.New("a value has the wrong type")
}

var upper = regexp.MustCompile(`[A-Z]`)

// snake undoes the camel case in which protojson's errors name fields.
func snake(name string) string {
	return upper.ReplaceAllStringFunc(name, func(c string) string { return "_" + strings.ToLower(c) })
}

// rewriter replaces the values of raw JSON fields in the JSON of a message and leaves all other bytes alone.
type rewriter struct {
	leaf  func(f protoreflect.FieldDescriptor, path string, value []byte) ([]byte, error)
	check bool // that messages, lists and maps are objects, arrays and objects
}

func (r rewriter) object(md protoreflect.MessageDescriptor, path string, data []byte) ([]byte, error) {
	return r.members(path, data, func(name, path string, value []byte) ([]byte, error) {
		if f := fieldNamed(md, name); f != nil {
			return r.field(f, path, value)
		}
		return value, nil
	})
}

func (r rewriter) field(f protoreflect.FieldDescriptor, path string, value []byte) ([]byte, error) {
	switch {
	case string(value) == "null":
		return value, nil
	case f.IsMap():
		return r.members(path, value, func(_, _ string, value []byte) ([]byte, error) {
			return r.single(f.MapValue(), isRaw(f), path+"[*]", value)
		})
	case f.IsList():
		return r.elements(f, path, value)
	}
	return r.single(f, isRaw(f), path, value)
}

func (r rewriter) single(f protoreflect.FieldDescriptor, raw bool, path string, value []byte) ([]byte, error) {
	switch {
	case raw:
		return r.leaf(f, path, value)
	case f.Message() != nil && (r.check || holdsRaw(f.Message())):
		return r.object(f.Message(), path, value)
	}
	return value, nil
}

// members rewrites the value of each member of an object.
func (r rewriter) members(path string, data []byte, value func(name, path string, value []byte) ([]byte, error)) ([]byte, error) {
	if data[0] != '{' {
		return nil, mistyped(path, "an object")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	_, _ = d.Token() // The opening brace; data is valid JSON.
	out := []byte{'{'}
	for d.More() {
		name, _ := d.Token()
		var old json.RawMessage
		if err := d.Decode(&old); err != nil {
			return nil, err
		}
		key, _ := json.Marshal(name)
		rewritten, err := value(name.(string), join(path, name.(string)), old)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, key...), ':'), rewritten...)
		out = append(out, ',')
	}
	return append(bytes.TrimSuffix(out, []byte{','}), '}'), nil
}

func (r rewriter) elements(f protoreflect.FieldDescriptor, path string, data []byte) ([]byte, error) {
	if data[0] != '[' {
		return nil, mistyped(path, "a list")
	}
	var values []json.RawMessage
	if err := json.Unmarshal(data, &values); err != nil {
		return nil, err
	}
	out := []byte{'['}
	for i, value := range values {
		rewritten, err := r.single(f, isRaw(f), fmt.Sprintf("%s[%d]", path, i), value)
		if err != nil {
			return nil, err
		}
		out = append(append(out, rewritten...), ',')
	}
	return append(bytes.TrimSuffix(out, []byte{','}), ']'), nil
}

// nest turns base64 into the JSON it holds.
func nest(f protoreflect.FieldDescriptor, path string, value []byte) ([]byte, error) {
	var raw []byte
	if err := json.Unmarshal(value, &raw); err != nil {
		return nil, err
	}
	if len(raw) == 0 && !f.HasPresence() {
		return []byte("{}"), nil
	}
	return raw, checkRaw(f, path, raw)
}

// wrap turns a JSON object into the base64 that protojson reads. An empty one becomes what stands for it, which is
// nothing, unless the field can tell nothing from empty.
func wrap(f protoreflect.FieldDescriptor, path string, value []byte) ([]byte, error) {
	if err := checkRaw(f, path, value); err != nil {
		return nil, err
	}
	if !f.HasPresence() && value[0] == '{' && len(bytes.TrimSpace(value[1:len(value)-1])) == 0 {
		return []byte(`""`), nil
	}
	return []byte(`"` + base64.StdEncoding.EncodeToString(value) + `"`), nil
}

func checkRaw(f protoreflect.FieldDescriptor, path string, raw []byte) error {
	if want := wantedRaw(f, raw); want != "" {
		return mistyped(path, want)
	}
	return nil
}

func mistyped(path, want string) error {
	if path == "" {
		return fmt.Errorf("must be %s", want)
	}
	return fmt.Errorf("field %s: must be %s", path, want)
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func fieldNamed(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if f := md.Fields().ByName(protoreflect.Name(name)); f != nil {
		return f
	}
	return md.Fields().ByJSONName(name)
}

func isRaw(f protoreflect.FieldDescriptor) bool {
	return f.Options() != nil && proto.GetExtension(f.Options(), callbacksv1.E_RawJson).(bool)
}

var raws sync.Map // protoreflect.MessageDescriptor → bool; as many as there are message types

// holdsRaw reports whether a message of this type can hold raw JSON at any depth.
func holdsRaw(md protoreflect.MessageDescriptor) bool {
	if known, ok := raws.Load(md); ok {
		return known.(bool)
	}
	holds := searchRaw(md, map[protoreflect.FullName]bool{})
	raws.Store(md, holds)
	return holds
}

func searchRaw(md protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) bool {
	if seen[md.FullName()] {
		return false
	}
	seen[md.FullName()] = true
	for i := range md.Fields().Len() {
		f := md.Fields().Get(i)
		if isRaw(f) || f.Message() != nil && searchRaw(f.Message(), seen) {
			return true
		}
	}
	return false
}
