package wire_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// asked draws a question about events.
func asked(t *rapid.T) *callbacksv1.AddFieldToUnsignedCallbackRequest {
	event := rapid.Custom(func(t *rapid.T) *callbacksv1.Event {
		e := &callbacksv1.Event{
			EventId: text.Draw(t, "event"), RoomVersion: text.Draw(t, "version"), RoomId: text.Draw(t, "room"),
			Json: []byte(rapid.SampledFrom([]string{"", "{}", `{"type":"m.room.message"}`, " {}", "[]", "{"}).Draw(t, "json")),
		}
		if rapid.IntRange(0, 9).Draw(t, "unknown field") == 0 {
			e.ProtoReflect().SetUnknown(unknown)
		}
		return e
	})
	return &callbacksv1.AddFieldToUnsignedCallbackRequest{Events: rapid.SliceOfN(event, 0, 4).Draw(t, "events")}
}

func TestEventsAreWrittenAsProtobuf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { writtenAsProtobuf(t, asked(t)) })
}

func TestEventsAreReadAsProtobuf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { changedAndReadAsProtobuf(t, asked(t)) })
}

func FuzzEventsAreReadAsProtobuf(f *testing.F) {
	one, err := proto.Marshal(&callbacksv1.AddFieldToUnsignedCallbackRequest{Events: []*callbacksv1.Event{
		{EventId: "$a", RoomVersion: "10", Json: []byte("{}"), RoomId: "!b"}, {},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one)
	f.Add(append(one, one...))
	f.Add([]byte{0x0a, 0x02, 0x1a, 0x00}) // an event with JSON of no bytes
	f.Fuzz(func(t *testing.T, data []byte) {
		readAsProtobuf(t, data, &callbacksv1.AddFieldToUnsignedCallbackRequest{})
	})
}

// Nothing is left of what a message held, known or unknown.
func TestMessageIsReadAnew(t *testing.T) {
	t.Parallel()
	for _, data := range [][]byte{{0x0a, 0x03, 0x0a, 0x01, 'a'}, {0x0a, 0x05, 0x0a, 0x01, 'a', 0x12, 0x00}} {
		for _, m := range []proto.Message{&callbacksv1.AddFieldToUnsignedCallbackRequest{}, &callbacksv1.AddFieldToUnsignedCallbackResponse{}} {
			m.ProtoReflect().SetUnknown([]byte{0x48, 0x01})
			if err := wire.FromProtobuf(data, m); err == nil && len(m.ProtoReflect().GetUnknown()) > 0 {
				t.Errorf("%x was read into %v, which it held before", data, m)
			}
		}
	}
}

// What is read is the reader's: it may go on with the payload's memory.
func TestEventsDoNotShareMemoryOfTheMessage(t *testing.T) {
	t.Parallel()
	data, err := wire.Encode(&callbacksv1.AddFieldToUnsignedCallbackRequest{Events: []*callbacksv1.Event{
		{EventId: "$a", Json: []byte("{}")}, {EventId: "$b", Json: []byte(`{"c":1}`)},
	}}, wire.Binary)
	m := &callbacksv1.AddFieldToUnsignedCallbackRequest{}
	if err != nil || wire.FromProtobuf(data, m) != nil {
		t.Fatal(err)
	}
	clear(data)
	_ = append(m.GetEvents()[0].GetJson(), "longer than before"...)
	for i, want := range []string{"$a {}", `$b {"c":1}`} {
		if e := m.GetEvents()[i]; e.GetEventId()+" "+string(e.GetJson()) != want {
			t.Errorf("read as %v, not %s", e, want)
		}
	}
}

// Who keeps one event of a large question keeps no other.
//
//nolint:paralleltest // It counts what is allocated.
func TestEventsOfLargeQuestionsHaveMemoryOfTheirOwn(t *testing.T) {
	read := func(events int) float64 {
		m := &callbacksv1.AddFieldToUnsignedCallbackRequest{}
		for range events {
			m.Events = append(m.Events, &callbacksv1.Event{EventId: "$a", Json: []byte(`{"type":"m.room.message"}`)})
		}
		data, err := wire.Encode(m, wire.Binary)
		if err != nil {
			t.Fatal(err)
		}
		return testing.AllocsPerRun(10, func() { _ = wire.FromProtobuf(data, &callbacksv1.AddFieldToUnsignedCallbackRequest{}) })
	}
	if few, many := read(100), read(10_000); few > 20 || many < 10_000 {
		t.Errorf("100 events take %v pieces of memory, 10,000 take %v", few, many)
	}
}
