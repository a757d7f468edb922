package antispam

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// keys returns how many keys there are.
func (o object) keys() int {
	all := map[string]bool{}
	for _, m := range o {
		key, _ := m.key.text()
		all[key] = true
	}
	return len(all)
}

// FuzzObject wants objects and lists to be read as encoding/json reads them.
func FuzzObject(f *testing.F) {
	for _, text := range []string{
		`{"a":1,"a":{"b":[true,null,"]}\\\""]} , "\u0061\ud800" : "x"}`, ` [ 1.5e3 ,[],{}, "" ] `, `{}`, `[[[]]]`, `"a\\"`, `null`, `{"a":1}x`, "\"\xff\"",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v := valid(data)
		if (v != nil) != (json.Valid(data) && utf8.Valid(data)) {
			t.Fatalf("%q: read %q", data, v)
		}
		if v != nil {
			readsAlike(t, data)
		}
	})
}

func readsAlike(t *testing.T, data []byte) {
	t.Helper()
	v := valid(data)
	var members map[string]json.RawMessage
	object, ok := v.object()
	if err := json.Unmarshal(data, &members); ok != (err == nil && members != nil) || object.keys() != len(members) {
		t.Fatalf("%q: read %q, %v, and encoding/json %q, %v", data, object, ok, members, err)
	}
	for key, value := range members {
		if got := object.get(key); !bytes.Equal(got, value) {
			t.Errorf("%q: %q is %q, and in encoding/json %q", data, key, got, value)
		}
	}
	var items []json.RawMessage
	list, ok := v.list()
	if err := json.Unmarshal(data, &items); ok != (err == nil && items != nil) || len(list) != len(items) {
		t.Fatalf("%q: read %q, %v, and encoding/json %q, %v", data, list, ok, items, err)
	}
	for i, item := range items {
		if !bytes.Equal(list[i], item) {
			t.Errorf("%q: item %d is %q, and in encoding/json %q", data, i, list[i], item)
		}
	}
	var want string
	text, ok := v.text()
	if err := json.Unmarshal(data, &want); ok != (err == nil && len(v) > 0 && v[0] == '"') || text != want {
		t.Errorf("%q: read %q, %v, and encoding/json %q, %v", data, text, ok, want, err)
	}
}
