package wire

import (
	"bytes"
	"reflect"
	"unicode/utf8"

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

// readEvents sets m, and reports whether data is as package proto writes a list of events and nothing else; else m is as it was.
// See [readUnsigned].
func readEvents(data []byte, m asker) (ok bool) {
	tag, ok := theOnly(m)
	if !ok || m.GetEvents() != nil || len(data) == 0 || len(data) > maxShared {
		return false
	}
	n, r := 0, entries{data: bytes.Clone(data), text: string(data)}
	for whole := r; whole.more(); n++ {
		whole.part(tag)
	}
	read, memory := make([]*callbacksv1.Event, n), make([]callbacksv1.Event, n)
	for i := 0; r.more(); i++ {
		of := r.part(tag)
		of.event(&memory[i])
		r.odd = r.odd || of.odd
		read[i] = &memory[i]
	}
	if r.odd {
		return false
	}
	reflect.ValueOf(m).Elem().FieldByName("Events").Set(reflect.ValueOf(read))
	return true
}

// event reads the fields of an event.
func (r *entries) event(e *callbacksv1.Event) {
	e.EventId = r.optional(idTag).text
	e.RoomVersion = r.optional(versionTag).text
	e.Json = r.optional(jsonTag).data
	e.RoomId = r.optional(roomTag).text
	r.odd = r.odd || len(r.data) > 0 || !utf8.ValidString(e.EventId) || !utf8.ValidString(e.RoomVersion) || !utf8.ValidString(e.RoomId)
}

// optional takes what follows a tag, if that comes next.
func (r *entries) optional(tag byte) (part entries) {
	if r.odd || len(r.data) == 0 || r.data[0] != tag {
		return entries{}
	}
	part = r.part(tag)
	r.odd = r.odd || len(part.data) == 0 // It would not have been written.
	return part
}
