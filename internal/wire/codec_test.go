package wire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

func TestMessagesComeBackInEitherMapping(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(messages()).Draw(t, "message")
		fill(t, m.ProtoReflect(), 3)
		in := wire.Mapping(rapid.Bool().Draw(t, "json"))
		data, err := wire.Encode(m, in)
		if err != nil {
			t.Fatal(err)
		}
		back := m.ProtoReflect().New().Interface()
		if err := wire.DecodeMessage(&nats.Msg{Header: in.Header(), Data: data}, back); err != nil || !proto.Equal(m, back) {
			t.Fatalf("%v became %v, %v", m, back, err)
		}
	})
}

func TestMappingsRefuseRawJSONThatIsNone(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{`[]`, `1`, `"x"`, `null`} {
		binary, err := proto.Marshal(note("list", raw))
		if err != nil {
			t.Fatal(err)
		}
		for in, data := range map[wire.Mapping]string{wire.Binary: string(binary), wire.JSON: `{"list":[{"raw":` + raw + `}]}`} {
			for name, decode := range map[string]func([]byte, wire.Mapping, proto.Message) error{"Decode": wire.Decode, "DecodeStrict": wire.DecodeStrict} {
				err := decode([]byte(data), in, newNotes())
				if raw == `null` && in == wire.JSON {
					continue // A field that is null is one that is not there.
				}
				if err == nil || !strings.Contains(err.Error(), "list[0].raw") {
					t.Errorf("%s of %s, in JSON: %v: got %v", name, raw, in, err)
				}
			}
		}
	}
}

func TestUnknownFieldsAreRefusedByDecodeStrictAlone(t *testing.T) {
	t.Parallel()
	data := []byte(`{"user":"@a:x"}`)
	if err := wire.Decode(data, wire.JSON, &callbacksv1.UserMayCreateRoomRequest{}); err != nil {
		t.Error(err)
	}
	if err := wire.DecodeStrict(data, wire.JSON, &callbacksv1.UserMayCreateRoomRequest{}); err == nil {
		t.Error("an unknown field was skipped")
	}
}

func TestAppendReusesItsBuffer(t *testing.T) {
	t.Parallel()
	buffer := append(make([]byte, 0, 512), "what was there before"...)
	m := &callbacksv1.UserMayCreateRoomRequest{UserId: "@a:x"}
	data, err := wire.Append(buffer, m, wire.Binary)
	want, _ := proto.Marshal(m)
	if err != nil || string(data) != string(want) || &data[0] != &buffer[0] {
		t.Errorf("got %q, %v", data, err)
	}
}

func TestHeaderIsFoundWhateverItsCase(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		header nats.Header
		want   string
	}{
		"none":                        {nil, ""},
		"another":                     {nats.Header{"Content-Length": {"1"}}, ""},
		"as we write it":              {nats.Header{"Content-Type": {"a"}}, "a"},
		"in lower case":               {nats.Header{"content-type": {"a"}}, "a"},
		"in upper case":               {nats.Header{"CONTENT-TYPE": {"a"}}, "a"},
		"in several, ours among them": {nats.Header{"CONTENT-TYPE": {"b"}, "Content-Type": {"a"}, "content-type": {"c"}}, "a"},
		"in several, ours not":        {nats.Header{"content-type": {"b"}, "CONTENT-TYPE": {"a"}}, "a"},
		"without a value":             {nats.Header{"content-type": nil}, ""},
		"empty in one spelling":       {nats.Header{"Content-Type": {""}, "content-type": {"a"}}, "a"},
	}
	for name, tt := range tests {
		if got := wire.Header(&nats.Msg{Header: tt.header}, wire.HeaderContentType); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

// respell draws another spelling of a header's name.
func respell(t *rapid.T, h nats.Header) nats.Header {
	out := nats.Header{}
	for name, values := range h {
		letters := []byte(name)
		for i := range letters {
			if rapid.Bool().Draw(t, "upper") {
				letters[i] = strings.ToUpper(name)[i]
			} else {
				letters[i] = strings.ToLower(name)[i]
			}
		}
		out[string(letters)] = values
	}
	return out
}

func TestFailureIsOneWhateverTheCaseOfItsHeaders(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := &wire.Failure{Kind: rosterv1.FailureKind_BUSY, Text: rapid.StringMatching(`[a-z]{0,9}`).Draw(t, "text")}
		if got := wire.FailureOf(&nats.Msg{Header: respell(t, f.Header())}); got == nil || *got != *f {
			t.Fatalf("got %v, want %v", got, f)
		}
		e := &matrix.Error{Status: 429, Errcode: "M_LIMIT_EXCEEDED", Text: "slow down"}
		m := &nats.Msg{Header: respell(t, wire.MatrixErrorHeader(e)), Data: e.Body()}
		if got := wire.MatrixErrorOf(m); got == nil || *got != *e || wire.MappingOf(m) != wire.JSON {
			t.Fatalf("got %v, want %v", got, e)
		}
	})
}

func TestSurrogateWithoutItsPairIsReplaced(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`al\ud800ice`, `\uDFFF`, `\udc00\ud800`, `\ud800\ud800\udc00`, `\ud83d\ude00`, `\\ud800`, `\\\ud800`, `\ud800\\udc00`, `\ud800\n`, `\u00e4\uDBFF`, `\uD7FF\ue000`, `\ud800\u0041`,
	} {
		var want string
		if err := json.Unmarshal([]byte(`"`+text+`"`), &want); err != nil {
			t.Fatal(err)
		}
		m := &callbacksv1.UserMayCreateRoomRequest{}
		err := wire.FromJSON([]byte(`{"unknown":{"`+text+`":["`+text+`"]},"user_id":"`+text+`","room_config":{"a":"`+text+`"}}`), m, false)
		if err != nil || m.GetUserId() != want {
			t.Errorf("%s: got %+q, %v, want %+q", text, m.GetUserId(), err, want)
		}
		if got := `{"a":"` + text + `"}`; string(m.GetRoomConfig()) != got {
			t.Errorf("raw JSON was changed: got %s, want %s", m.GetRoomConfig(), got)
		}
	}
}

func FuzzHalvesOfSurrogatePairs(f *testing.F) {
	for _, text := range []string{"", `\ud800`, `\ud83d\ude00`, `\\ud800\udc00`, `a\uDBFF\uDFFF\u0000`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want string
		text = strings.ToValidUTF8(text, "")
		if json.Unmarshal([]byte(`"`+text+`"`), &want) != nil {
			return
		}
		m := &callbacksv1.UserMayCreateRoomRequest{}
		if err := wire.FromJSON([]byte(`{"user_id":"`+text+`"}`), m, true); err != nil || m.GetUserId() != want {
			t.Errorf("%q: got %q, %v, want %q", text, m.GetUserId(), err, want)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(0, false, []byte(""))
	f.Add(1, true, []byte(`{}`))
	f.Fuzz(func(t *testing.T, which int, inJSON bool, data []byte) {
		all, in := messages(), wire.Mapping(inJSON)
		m := all[uint(which)%uint(len(all))]
		if wire.Decode(data, in, m) != nil {
			return
		}
		other, err := wire.Encode(m, !in) // What one mapping lets through, the other can say.
		if err != nil {
			t.Fatalf("%q was read and cannot be written in the other mapping: %v", data, err)
		}
		back := m.ProtoReflect().New().Interface()
		if err := wire.Decode(other, !in, back); err != nil {
			t.Fatalf("%q became %q, which is refused: %v", data, other, err)
		}
	})
}
