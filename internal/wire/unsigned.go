package wire

import (
	"reflect"
	"slices"

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
	const each = 64 // Bytes for each event with a short field. With more, the buffer grows.
	w := writer{data: slices.Grow(buffer, each*len(m.GetUnsigned()))}
	for event, of := range m.GetUnsigned() {
		if w.odd = w.odd || of == nil || len(of.ProtoReflect().GetUnknown()) > 0; w.odd {
			return buffer, false
		}
		entry := w.open(tag)
		w.string(keyTag, event)
		fields := w.open(valueTag)
		for name, value := range of.Fields {
			field := w.open(keyTag)
			w.string(keyTag, name)
			w.bytes(valueTag, value)
			w.close(field)
		}
		w.close(fields)
		w.close(entry)
	}
	return w.data, !w.odd
}

// readUnsigned sets m, and reports whether data is what [appendUnsigned] writes; else m is as it was. It reports as well whether it has
// seen that all values are JSON.
func readUnsigned(data []byte, m holder) (ok, sound bool) {
	const least = 4 // The bytes of an entry: two tags and two lengths. Else a module could have memory made for entries of two bytes each.
	tag, ok := theOnly(m)
	n, whole := count(data, tag, least)
	if !ok || m.GetUnsigned() != nil || !whole {
		return false, false
	}
	r := newReader(data)
	read, memory := make(byEvent, n), make([]callbacksv1.UnsignedFields, n)
	for i := range memory {
		entry := r.open(tag, len(data))
		event := r.string(keyTag, entry)
		fields := r.open(valueTag, entry)
		memory[i].Fields = r.fields(fields)
		r.close(entry)
		read[event] = &memory[i]
	}
	if r.odd {
		return false, false
	}
	reflect.ValueOf(m).Elem().FieldByName("Unsigned").Set(reflect.ValueOf(read))
	return true, !r.unsound
}

// fields reads the fields of an event up to an end.
func (r *reader) fields(end int) map[string][]byte {
	if r.at == end {
		return nil
	}
	all := map[string][]byte{}
	for r.at < end && !r.odd {
		field := r.open(keyTag, end)
		name := r.string(keyTag, field)
		value := r.bytes(valueTag, field)
		r.unsound = r.unsound || !validJSON(value)
		r.close(field)
		all[name] = value
	}
	return all
}
