package wire

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// A map of maps is most of what an answer about many events costs, because package proto reads and writes maps by reflection. Here
// messages that hold nothing else are read and written without it, in the same bytes. What is not as this file writes it
// is left to package proto, so there is one truth about what a message means. See ADR 65.

// byEvent is what a module says of many events.
type byEvent = map[string]*callbacksv1.UnsignedFields

// holder is a message that holds fields of many events.
type holder interface {
	proto.Message
	GetUnsigned() byEvent
}

// The parts of an entry of a map.
const (
	keyTag   = 1<<3 | byte(protowire.BytesType)
	valueTag = 2<<3 | byte(protowire.BytesType)
)

// theOnly is the tag of a map or a list, where the message has no other field, and holds none that is unknown.
func theOnly(m proto.Message) (tag byte, ok bool) {
	fields := m.ProtoReflect().Descriptor().Fields()
	const short = 16 // The number of a field whose tag takes one byte is less.
	if fields.Len() != 1 || fields.Get(0).Number() >= short || len(m.ProtoReflect().GetUnknown()) > 0 {
		return 0, false
	}
	return byte(fields.Get(0).Number())<<3 | byte(protowire.BytesType), true
}

// appendUnsigned adds m to a buffer, and reports whether it is one that it can write.
func appendUnsigned(buffer []byte, m holder) (_ []byte, ok bool) {
	tag, ok := theOnly(m)
	if !ok {
		return buffer, false
	}
	for event, of := range m.GetUnsigned() {
		size, plain := sizeOf(of)
		if !plain || !utf8.ValidString(event) {
			return buffer, false
		}
		buffer = binary.AppendUvarint(append(buffer, tag), uint64(1+protowire.SizeBytes(len(event))+1+protowire.SizeBytes(size)))
		buffer = protowire.AppendString(append(buffer, keyTag), event)
		buffer = binary.AppendUvarint(append(buffer, valueTag), uint64(size))
		for name, value := range of.Fields {
			buffer = binary.AppendUvarint(append(buffer, keyTag), uint64(sizeOfField(name, value)))
			buffer = protowire.AppendString(append(buffer, keyTag), name)
			buffer = protowire.AppendBytes(append(buffer, valueTag), value)
		}
	}
	return buffer, true
}

// sizeOf is how many bytes the fields of an event take, and whether they are all that is said of it.
func sizeOf(f *callbacksv1.UnsignedFields) (size int, plain bool) {
	if f == nil || len(f.ProtoReflect().GetUnknown()) > 0 {
		return 0, false
	}
	for name, value := range f.Fields {
		if !utf8.ValidString(name) {
			return 0, false
		}
		size += 1 + protowire.SizeBytes(sizeOfField(name, value))
	}
	return size, true
}

func sizeOfField(name string, value []byte) int {
	return 1 + protowire.SizeBytes(len(name)) + 1 + protowire.SizeBytes(len(value))
}

// readUnsigned sets m, and reports whether data is what [appendUnsigned] writes; else m is as it was.
func readUnsigned(data []byte, m holder) (ok bool) {
	tag, ok := theOnly(m)
	if !ok || m.GetUnsigned() != nil || len(data) == 0 {
		return false
	}
	n, r := 0, entries{data: bytes.Clone(data), text: string(data)}
	const least = 4 // The bytes of an entry: two tags and two lengths. Else a module could have memory made for entries of two bytes each.
	whole := r
	for ; whole.more(); n++ {
		whole.odd = len(whole.part(tag).data) < least
	}
	if whole.odd {
		return false
	}
	read, memory := make(byEvent, n), make([]callbacksv1.UnsignedFields, n)
	for i := 0; r.more(); i++ {
		event, fields := r.entry(tag)
		memory[i].Fields = fields.fields()
		r.odd = r.odd || fields.odd
		read[event] = &memory[i]
	}
	if r.odd {
		return false
	}
	reflect.ValueOf(m).Elem().FieldByName("Unsigned").Set(reflect.ValueOf(read))
	return true
}

// entries reads entries of a map off the front of some bytes, which it has as bytes and as text: what is read shares that memory.
type entries struct {
	data []byte
	text string
	odd  bool // something is not as it would be written here
}

func (r *entries) more() bool { return len(r.data) > 0 && !r.odd }

// entry takes the key and the value of an entry.
func (r *entries) entry(tag byte) (key string, value entries) {
	whole := r.part(tag)
	key, value = whole.part(keyTag).text, whole.part(valueTag)
	r.odd = r.odd || whole.odd || len(whole.data) > 0 || !utf8.ValidString(key)
	return key, value
}

func (r *entries) fields() map[string][]byte {
	if len(r.data) == 0 {
		return nil
	}
	all := map[string][]byte{}
	for r.more() {
		name, value := r.entry(keyTag)
		all[name] = value.data
	}
	return all
}

// part takes what follows a tag.
func (r *entries) part(tag byte) (part entries) {
	if r.odd || len(r.data) == 0 || r.data[0] != tag {
		r.odd = true
		return entries{}
	}
	size, head := binary.Uvarint(r.data[1:])
	from := 1 + head
	if head <= 0 || size > uint64(len(r.data)-from) {
		r.odd = true
		return entries{}
	}
	to := from + int(size)
	part = entries{data: r.data[from:to:to], text: r.text[from:to]}
	r.data, r.text = r.data[to:], r.text[to:]
	return part
}
