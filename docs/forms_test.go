package docs_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

var (
	fieldRow = regexp.MustCompile("^\\| `([a-z0-9_]+)` \\| ([^|]+) \\|")
	linked   = regexp.MustCompile(`\[([A-Za-z0-9]+)\]\([^)]*\)`)
)

// forms returns what a page says of each field's form, by what the table belongs to: the name of a type, or that of a
// callback or method and "The request" or "The answer".
func forms(t *testing.T, page string) map[string]map[string]string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	all, heading, part := map[string]map[string]string{}, "", ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch row := fieldRow.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "## "):
			heading, part = strings.TrimPrefix(line, "## "), ""
		case strings.HasPrefix(line, "The request") || strings.HasPrefix(line, "The answer"):
			part = strings.TrimSuffix(strings.TrimSuffix(line, ":"), " has no fields.")
		case row != nil:
			key := strings.TrimSpace(heading + " " + part)
			if all[key] == nil {
				all[key] = map[string]string{}
			}
			all[key][row[1]] = linked.ReplaceAllString(row[2], "$1")
		}
	}
	return all
}

// valueOf is a value of a form, in the JSON mapping as it is written.
func valueOf(form string) any {
	if of, ok := strings.CutPrefix(form, "map of "); ok {
		return map[string]any{"k": valueOf(of)}
	}
	if of, ok := strings.CutPrefix(form, "list of "); ok {
		return []any{valueOf(of)}
	}
	switch of, _ := strings.CutPrefix(form, "optional "); of {
	case "string":
		return "text"
	case "bool":
		return true
	case "int32", "uint32":
		return json.Number("5")
	case "int64", "uint64":
		return "5"
	case "double":
		return json.Number("0.5")
	case "bytes":
		return "aGVsbG8="
	case "JSON":
		return map[string]any{"a": []any{"b", json.Number("12345678901234567890")}}
	}
	return map[string]any{} // A message.
}

// messages are all that the reference pages describe, by the keys of forms.
func messages(t *testing.T) map[string]proto.Message {
	t.Helper()
	all := map[string]proto.Message{}
	for _, d := range subjects.All() {
		all[d.Name+" The request"], all[d.Name+" The answer"] = d.NewRequest(), d.NewReply()
	}
	for _, m := range subjects.Methods() {
		all[m.Name+" The request"], all[m.Name+" The answer"] = m.NewRequest(), m.NewReply()
	}
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		file := mt.Descriptor().ParentFile().Path()
		if key := string(mt.Descriptor().Name()); file == "callbacks/v1/types.proto" || file == "moduleapi/v1/module_api.proto" && all[key] == nil {
			all[key] = mt.New().Interface()
		}
		return true
	})
	return all
}

// What a page says of a field's form is what the JSON mapping takes, and gives back.
func TestFieldsTakeTheFormThatThePagesSay(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("callbacks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	known, checked := messages(t), 0
	for _, page := range append(pages, "module-api.md") {
		for key, fields := range forms(t, page) {
			m := known[key]
			if m == nil {
				t.Errorf("%s: there is no message for %q", page, key)
				continue
			}
			for name, form := range fields {
				checked++
				takes(t, page+" "+key+" "+name, m.ProtoReflect().New().Interface(), name, form)
			}
		}
	}
	if checked < 300 {
		t.Errorf("found only %d fields", checked)
	}
}

func takes(t *testing.T, what string, m proto.Message, name, form string) {
	t.Helper()
	f := m.ProtoReflect().Descriptor().Fields().ByTextName(name)
	if f == nil {
		t.Errorf("%s is no field", what)
		return
	}
	if got := wire.Form(f); got != form {
		t.Errorf("%s is %q on the page, and %q in busd callbacks", what, form, got)
	}
	data, err := json.Marshal(map[string]any{name: valueOf(form)})
	if err != nil {
		t.Fatal(err)
	}
	if err := wire.DecodeStrict(data, wire.JSON, m); err != nil {
		t.Errorf("%s: %s is refused: %v", what, data, err)
		return
	}
	written, err := wire.Encode(m, wire.JSON)
	if err != nil {
		t.Fatal(err)
	}
	var got, want map[string]json.RawMessage
	if json.Unmarshal(written, &got) != nil || json.Unmarshal(data, &want) != nil {
		t.Fatalf("%s: not JSON: %s", what, written)
	}
	if strings.HasSuffix(form, "bytes") && string(m.ProtoReflect().Get(f).Bytes()) != "hello" {
		t.Errorf("%s: its bytes are not read as base64", what)
	}
	if f.Message() != nil && !f.IsMap() { // Empty fields of a message are written out.
		return
	}
	if _, message := valueOf(form).(map[string]any); f.IsMap() && f.MapValue().Message() != nil && message {
		return
	}
	if diff := cmp.Diff(string(want[name]), string(got[name])); diff != "" {
		t.Errorf("%s (-taken +given back):\n%s", what, diff)
	}
}
