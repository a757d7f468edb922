package wire_test

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// unknown is a field that no message has.
var unknown = protowire.AppendVarint(protowire.AppendTag(nil, 9, protowire.VarintType), 1)

// text is what a name may be, and in one case of many what cannot be sent.
var text = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "$a", "!b:c", "10", "$d", strings.Repeat("a", 300), "\xff"}))

// said draws what a module may say of events, also what cannot be sent.
func said(t *rapid.T) *callbacksv1.AddFieldToUnsignedCallbackResponse {
	value := rapid.Map(rapid.SampledFrom([]string{"1", `"x"`, `{"a":[]}`, "", "{", strings.Repeat("1", 300)}), func(s string) []byte { return []byte(s) })
	fields := rapid.Custom(func(t *rapid.T) *callbacksv1.UnsignedFields {
		f := &callbacksv1.UnsignedFields{Fields: rapid.MapOfN(text, value, 0, 3).Draw(t, "fields")}
		if rapid.IntRange(0, 9).Draw(t, "unknown field") == 0 {
			f.ProtoReflect().SetUnknown(unknown)
		}
		return f
	})
	return &callbacksv1.AddFieldToUnsignedCallbackResponse{Unsigned: rapid.MapOfN(text, fields, 0, 4).Draw(t, "unsigned")}
}

func TestFieldsOfEventsAreWrittenAsProtobuf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { writtenAsProtobuf(t, said(t)) })
}

func TestFieldsOfEventsAreReadAsProtobuf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { changedAndReadAsProtobuf(t, said(t)) })
}

// writtenAsProtobuf fails where a message is not written as package proto does.
func writtenAsProtobuf(t *rapid.T, m proto.Message) {
	t.Helper()
	data, err := wire.Encode(m, wire.Binary)
	theirs, theirErr := proto.Marshal(m)
	if (err == nil) != (theirErr == nil) || err == nil && len(data) != len(theirs) {
		t.Fatalf("wrote %x, %v; package proto %x, %v", data, err, theirs, theirErr)
	}
	back := m.ProtoReflect().New().Interface()
	if err == nil && (proto.Unmarshal(data, back) != nil || !proto.Equal(m, back)) {
		t.Errorf("%v was written as %v", m, back)
	}
}

// changedAndReadAsProtobuf fails where a message of which bytes were changed is not read as package proto does.
func changedAndReadAsProtobuf(t *rapid.T, m proto.Message) {
	t.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		return // Nobody can send it.
	}
	for range rapid.IntRange(0, 2).Draw(t, "changes") {
		if i := rapid.IntRange(0, len(data)).Draw(t, "at"); i < len(data) {
			data[i] = rapid.Byte().Draw(t, "byte")
		}
	}
	readAsProtobuf(t, data, m.ProtoReflect().New().Interface())
}

// readAsProtobuf fails where a payload is not read into an empty message as package proto does. Values that are no JSON are an error
// beside that, and it is the one that they are where package proto reads them, since there is a field that nobody knows.
func readAsProtobuf(t interface {
	Helper()
	Errorf(format string, args ...any)
}, data []byte, got proto.Message,
) {
	t.Helper()
	before, want, other := slices.Clone(data), got.ProtoReflect().New().Interface(), got.ProtoReflect().New().Interface()
	err, wantErr := wire.FromProtobuf(data, got), proto.Unmarshal(data, want)
	if !bytes.Equal(before, data) || wantErr == nil && !proto.Equal(got, want) || wantErr != nil && err == nil {
		t.Errorf("%x was read as %v, %v; package proto: %v, %v", data, got, err, want, wantErr)
	}
	if slow := wire.FromProtobuf(append(before, unknown...), other); wantErr == nil && fmt.Sprint(err) != fmt.Sprint(slow) {
		t.Errorf("%x: %v; with an unknown field: %v", data, err, slow)
	}
}

func FuzzFieldsOfEventsAreReadAsProtobuf(f *testing.F) {
	one, err := proto.Marshal(&callbacksv1.AddFieldToUnsignedCallbackResponse{Unsigned: map[string]*callbacksv1.UnsignedFields{
		"$a": {Fields: map[string][]byte{"b": []byte("1"), "c": []byte(`"x"`)}}, "$d": {},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one)
	f.Add(append(one, one...))
	f.Fuzz(func(t *testing.T, data []byte) {
		readAsProtobuf(t, data, &callbacksv1.AddFieldToUnsignedCallbackResponse{})
	})
}

// What is read is the reader's: it may go on with the payload's memory.
func TestFieldsOfEventsDoNotShareMemoryOfTheMessage(t *testing.T) {
	t.Parallel()
	data, err := wire.Encode(&callbacksv1.AddFieldToUnsignedCallbackResponse{Unsigned: map[string]*callbacksv1.UnsignedFields{
		"$a": {Fields: map[string][]byte{"b": []byte("1"), "c": []byte("2")}},
	}}, wire.Binary)
	m := &callbacksv1.AddFieldToUnsignedCallbackResponse{}
	if err != nil || wire.FromProtobuf(data, m) != nil {
		t.Fatal(err)
	}
	clear(data)
	fields := m.GetUnsigned()["$a"].GetFields()
	_ = append(fields["b"], "longer than before"...)
	if string(fields["b"]) != "1" || string(fields["c"]) != "2" {
		t.Errorf("read as %q", fields)
	}
}

// Entries of which each takes two bytes are no reason for more memory than package proto takes.
//
//nolint:paralleltest // It counts what is allocated.
func TestEmptyEntriesTakeNoMoreMemoryThanTheyDoOtherwise(t *testing.T) {
	data := bytes.Repeat([]byte{0x0a, 0x00}, 100_000)
	allocated := func(read func([]byte, proto.Message) error) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := read(data, &callbacksv1.AddFieldToUnsignedCallbackResponse{}); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	if got, want := allocated(wire.FromProtobuf), allocated(proto.Unmarshal); got > want*3/2 {
		t.Errorf("%d bytes are allocated; package proto: %d", got, want)
	}
}
