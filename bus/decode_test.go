package bus

import (
	"slices"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// refusers are the callbacks whose answers can be refusals.
func refusers() (all []*subjects.Declaration) {
	for _, d := range subjects.All() {
		if d.CanRefuse() {
			all = append(all, d)
		}
	}
	return all
}

// A refusal is read by its tag alone.
func TestRefusalIsTheFirstFieldOfEachAnswer(t *testing.T) {
	t.Parallel()
	for _, d := range refusers() {
		if f := d.NewReply().ProtoReflect().Descriptor().Fields().ByNumber(wire.RefusalNumber); f == nil || f.Name() != "refusal" {
			t.Errorf("%s has another field in its place", d.FullName())
		}
	}
}

// refusalOrNot draws what a module may send: a refusal, or what is nearly one.
func refusalOrNot(t *rapid.T, d *subjects.Declaration) []byte {
	r := &callbacksv1.Refusal{Errcode: rapid.String().Draw(t, "errcode"), Error: rapid.String().Draw(t, "error")}
	if rapid.IntRange(0, 4).Draw(t, "has a status") == 0 {
		r.HttpStatus = new(rapid.Uint32().Draw(t, "status"))
	}
	if rapid.IntRange(0, 4).Draw(t, "has fields") == 0 {
		r.AdditionalFields = []byte(rapid.SampledFrom([]string{"{}", "[]", `{"a":1}`}).Draw(t, "fields"))
	}
	data, err := proto.Marshal(d.Refused(r))
	if err != nil {
		t.Fatal(err)
	}
	for range rapid.IntRange(0, 2).Draw(t, "changes") {
		at := rapid.IntRange(0, len(data)).Draw(t, "at")
		to := min(at+rapid.IntRange(0, 2).Draw(t, "cut out"), len(data))
		data = slices.Concat(data[:at], rapid.SliceOfN(rapid.Byte(), 0, 2).Draw(t, "put in"), data[to:])
	}
	return data
}

func TestRefusalIsReadAsAnyAnswer(t *testing.T) {
	t.Parallel()
	plain := 0
	rapid.Check(t, func(t *rapid.T) {
		d := rapid.SampledFrom(refusers()).Draw(t, "callback")
		if isReadAsAnyAnswer(t, d, refusalOrNot(t, d)) {
			plain++
		}
	})
	if plain == 0 {
		t.Error("none was a plain refusal")
	}
}

func FuzzRefusalIsReadAsAnyAnswer(f *testing.F) {
	f.Add([]byte("\x0a\x0a\x0a\x03M_X\x12\x03not"))
	f.Add([]byte("\x0a\x00"))
	f.Add([]byte("\x0a\x03\x0a\x01\xff"))
	f.Fuzz(func(t *testing.T, data []byte) { isReadAsAnyAnswer(t, subjects.UserMayCreateRoom.Declaration, data) })
}

// isReadAsAnyAnswer reports whether a payload is a plain refusal, and fails where it is another answer, or none, without that.
func isReadAsAnyAnswer(t interface{ Fatalf(string, ...any) }, d *subjects.Declaration, data []byte) bool {
	m, skipped := &nats.Msg{Data: data}, error(nil)
	got := readRefusal(d, m)
	if got == nil {
		return false
	}
	want, failure := read(d, m, func(part error) { skipped = part })
	if failure != nil || skipped != nil || !proto.Equal(want, got) {
		t.Fatalf("%x was read as %v, and without haste as %v, %v, without %v", data, got, want, failure, skipped)
	}
	return true
}
