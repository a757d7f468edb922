package wire

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMemberIsWhatEncodingJSONFinds(t *testing.T) {
	t.Parallel()
	plain := 0
	rapid.Check(t, func(t *rapid.T) {
		data, err := json.Marshal(rapid.MapOfN(rapid.SampledFrom([]string{"sender", "SENDER", "s", `"`, "é"}), nested(2), 0, 4).Draw(t, "object"))
		if err != nil {
			t.Fatal(err)
		}
		pieces := rapid.SliceOfN(odd, 0, 3).Draw(t, "pieces")
		at := rapid.IntRange(0, len(data)).Draw(t, "at")
		if isMember(t, data) {
			plain++
		}
		isMember(t, []byte(string(data[:at])+strings.Join(pieces, "")+string(data[at:])))
	})
	if plain == 0 {
		t.Error("none was plain")
	}
}

func FuzzMember(f *testing.F) {
	f.Add([]byte(`{"sender":"@a:b","content":{"sender":1}, "sender" : {"x":[]} }`))
	f.Add([]byte(`{"s\u0065nder":"@a:b"}`))
	f.Add([]byte(` {} `))
	f.Fuzz(func(t *testing.T, data []byte) { isMember(t, data) })
}

// isMember reports whether data is a plain object, and fails where package encoding/json finds another member, or no object.
func isMember(t interface{ Fatalf(string, ...any) }, data []byte) (plain bool) {
	var all map[string]json.RawMessage
	err := json.Unmarshal(data, &all)
	found, plain := plainMember(data, "sender")
	if plain && (err != nil || !bytes.Equal(found, all["sender"])) {
		t.Fatalf("%q has %q; package encoding/json: %q, %v", data, found, all["sender"], err)
	}
	return plain
}

func BenchmarkMember(b *testing.B) {
	data := []byte(`{"auth_events":["$a","$b","$c"],"prev_events":["$d"],"type":"m.room.message","room_id":"!r:example.com","sender":"@alice:example.com",` +
		`"content":{"body":"hello \u00e9","msgtype":"m.text"},"depth":17,"origin_server_ts":1764374400000,"hashes":{"sha256":"1"},"unsigned":{"age":2}}`)
	for name, read := range map[string]func() []byte{
		"here": func() []byte { return Member(data, "sender") },
		"encoding/json": func() []byte {
			var all map[string]json.RawMessage
			_ = json.Unmarshal(data, &all)
			return all["sender"]
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if read() == nil {
					b.Fatal("it has a sender")
				}
			}
		})
	}
}
