package wire

import (
	"reflect"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// maxShared is how large a question about many events may be that is read into a few pieces of memory, which all its events share, in
// bytes. Beyond: package proto gives each event memory of its own, so that who keeps one does not keep much.
const maxShared = 64 << 10

// asker is a message that asks about many events.
type asker interface {
	proto.Message
	GetEvents() []*callbacksv1.Event
}

// The fields of an event, by their tags.
const (
	idTag      = 1<<3 | byte(protowire.BytesType)
	versionTag = 2<<3 | byte(protowire.BytesType)
	jsonTag    = 3<<3 | byte(protowire.BytesType)
	roomTag    = 4<<3 | byte(protowire.BytesType)
)

// appendEvents adds m to a buffer, and reports whether it is one that it can write. See [appendUnsigned].
func appendEvents(buffer []byte, m asker) (_ []byte, ok bool) {
	tag, ok := theOnly(m)
	if !ok {
		return buffer, false
	}
	w := writer{data: buffer}
	for _, e := range m.GetEvents() {
		if w.odd = w.odd || e == nil || len(e.ProtoReflect().GetUnknown()) > 0; w.odd {
			return buffer, false
		}
		event := w.open(tag)
		w.optional(idTag, e.EventId)
		w.optional(versionTag, e.RoomVersion)
		if len(e.Json) > 0 {
			w.bytes(jsonTag, e.Json)
		}
		w.optional(roomTag, e.RoomId)
		w.close(event)
	}
	return w.data, !w.odd
}

// readEvents sets m, and reports whether data is as package proto writes a list of events and nothing else; else m is as it was.
// See [readUnsigned].
func readEvents(data []byte, m asker) (ok, sound bool) {
	tag, ok := theOnly(m)
	if !ok || m.GetEvents() != nil || len(data) > maxShared {
		return false, false
	}
	n, whole := count(data, tag, 0)
	if !whole {
		return false, false
	}
	r := newReader(data)
	read, memory := make([]*callbacksv1.Event, n), make([]callbacksv1.Event, n)
	for i := range memory {
		r.event(&memory[i], r.open(tag, len(data)))
		read[i] = &memory[i]
	}
	if r.odd {
		return false, false
	}
	reflect.ValueOf(m).Elem().FieldByName("Events").Set(reflect.ValueOf(read))
	return true, !r.unsound
}

// event reads the fields of an event, up to an end.
func (r *reader) event(e *callbacksv1.Event, end int) {
	e.EventId = r.optional(idTag, end)
	e.RoomVersion = r.optional(versionTag, end)
	if r.next(jsonTag, end) {
		e.Json = r.bytes(jsonTag, end)
		r.odd = r.odd || len(e.Json) == 0 // It would not have been written.
		r.unsound = r.unsound || !r.odd && (e.Json[0] != '{' || !validJSON(e.Json))
	}
	e.RoomId = r.optional(roomTag, end)
	r.close(end)
}
