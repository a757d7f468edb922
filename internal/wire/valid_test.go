package wire

import (
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// odd are pieces of which what is almost JSON is made.
var odd = rapid.SampledFrom([]string{
	`{`, `}`, `[`, `]`, `,`, `:`, `"`, `\`, `u`, `00e9`, `\u00e9`, `\"`, `\x`, ` `, "\n", "\x01", "\xff", `0`, `-`, `12`, `01`, `.`, `5`, `e`, `E+`,
	`true`, `tru`, `false`, `null`, `"a"`, `"a":`, `{"a":1}`, `[1,2]`, `{}`, `[]`, "é",
})

func TestPlainJSONIsValid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		data := []byte(strings.Join(rapid.SliceOfN(odd, 0, 12).Draw(t, "pieces"), ""))
		if plainJSON(data) && !json.Valid(data) {
			t.Fatalf("%q is not JSON", data)
		}
	})
}

func FuzzPlainJSON(f *testing.F) {
	f.Add([]byte(`{"a": [1, -2, "x\u00e9\n", null, {}], "b": {"c": true}}`))
	f.Add([]byte(`{"a":01}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if plainJSON(data) && !json.Valid(data) {
			t.Errorf("%q is not JSON", data)
		}
	})
}

// nested are values of events, of which none has a fraction.
func nested(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.String().AsAny(), rapid.Int64().AsAny(), rapid.Bool().AsAny(), rapid.Just[any](nil),
	}
	if depth > 0 {
		leaves = append(leaves, rapid.SliceOfN(nested(depth-1), 0, 4).AsAny(), rapid.MapOfN(rapid.String(), nested(depth-1), 0, 4).AsAny())
	}
	return rapid.OneOf(leaves...)
}

func TestJSONWithoutFractionsIsPlain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		data, err := json.MarshalIndent(nested(4).Draw(t, "value"), " ", rapid.SampledFrom([]string{"", "\t"}).Draw(t, "indent"))
		if err != nil || !plainJSON(data) {
			t.Fatalf("%s is not read: %v", data, err)
		}
	})
}

func TestJSONThatIsNotPlainIsValid(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 2*plainDepth) + strings.Repeat("]", 2*plainDepth)
	for _, data := range []string{`1.5`, `{"a":1e9}`, deep} {
		if plainJSON([]byte(data)) || !validJSON([]byte(data)) {
			t.Errorf("%.20s: plain %v, valid %v", data, plainJSON([]byte(data)), validJSON([]byte(data)))
		}
	}
}

func BenchmarkValidJSON(b *testing.B) {
	data := []byte(`{"type":"m.room.message","content":{"body":"hello \u00e9","msgtype":"m.text"},"origin_server_ts":1764374400000}`)
	for name, valid := range map[string]func([]byte) bool{"here": validJSON, "encoding/json": json.Valid} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if !valid(data) {
					b.Fatal("it is JSON")
				}
			}
		})
	}
}
