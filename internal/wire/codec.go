package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Mapping is how a payload spells a message.
type Mapping bool

const (
	// Binary is protobuf's own form, which payloads have where nothing is said.
	Binary Mapping = false

	// JSON is the JSON mapping of docs/protocol.md. A header of the message says so: see [Mapping.Header].
	JSON Mapping = true
)

// JSONType is the media type of the JSON mapping.
const JSONType = "application/json"

// MappingOf returns the mapping that the headers of m select.
func MappingOf(m *nats.Msg) Mapping {
	mediaType, _, _ := strings.Cut(Header(m, HeaderContentType), ";")
	return Mapping(strings.EqualFold(strings.TrimSpace(mediaType), JSONType))
}

// Header returns the headers that select the mapping; nil for [Binary].
func (in Mapping) Header() nats.Header {
	if in == Binary {
		return nil
	}
	return nats.Header{HeaderContentType: {JSONType}}
}

// Encode returns m in the mapping.
func Encode(m proto.Message, in Mapping) ([]byte, error) { return Append(nil, m, in) }

// Append is Encode that may write into the capacity of a buffer. What the buffer held is gone then.
func Append(buffer []byte, m proto.Message, in Mapping) ([]byte, error) {
	if in == JSON {
		return ToJSON(m)
	}
	if written, ok := appendQuickly(buffer[:0], m); ok {
		return written, nil
	}
	return proto.MarshalOptions{}.MarshalAppend(buffer[:0], m)
}

// appendQuickly adds m to a buffer without reflection, and reports whether it could.
func appendQuickly(buffer []byte, m proto.Message) (_ []byte, ok bool) {
	switch m := m.(type) {
	case refuser:
		return appendRefusal(buffer, m)
	case holder:
		return appendUnsigned(buffer, m)
	case asker:
		return appendEvents(buffer, m)
	}
	return buffer, false
}

// Decode sets m from a payload in the mapping. Both mappings refuse a raw JSON field that holds something else than its
// JSON, and skip fields that the schema does not have. Errors name the field and never repeat a value or the key of a map.
func Decode(data []byte, in Mapping, m proto.Message) error {
	if in == JSON {
		return FromJSON(data, m, false)
	}
	return FromProtobuf(data, m)
}

// DecodeTelling is Decode that says what it skipped: a field, or the name of an enum's value, that the schema does not have.
// Nothing was skipped where skipped is nil. In the binary mapping it looks at the fields of the message itself, and not at those
// of messages in it.
func DecodeTelling(data []byte, in Mapping, m proto.Message) (skipped, err error) {
	if in == Binary {
		err = FromProtobuf(data, m)
		return unknown(m), err
	}
	strict := FromJSON(data, m, true)
	if strict == nil || errors.Is(strict, ErrNotJSON) {
		return nil, strict
	}
	return strict, FromJSON(data, m, false)
}

// unknown says which field of a message the schema does not have; nil where it has all.
func unknown(m proto.Message) error {
	rest := m.ProtoReflect().GetUnknown()
	if len(rest) == 0 {
		return nil
	}
	number, _, _ := protowire.ConsumeTag(rest) // It was read before.
	return fmt.Errorf("unknown field %d", number)
}

// DecodeStrict is Decode for what people write: in the JSON mapping, an unknown field is an error.
func DecodeStrict(data []byte, in Mapping, m proto.Message) error {
	if in == JSON {
		return FromJSON(data, m, true)
	}
	return FromProtobuf(data, m)
}

// DecodeMessage sets m from the payload of a NATS message, in the mapping that its headers select. See [Decode].
func DecodeMessage(from *nats.Msg, m proto.Message) error {
	return Decode(from.Data, MappingOf(from), m)
}

// replacement is what stands for half a surrogate pair, which is no character.
var replacement = []byte(`\ufffd`)

// mendSurrogates replaces the escapes of halves of surrogate pairs in valid JSON, as package encoding/json does: no
// UTF-8 can hold them, and protojson refuses a whole message for one. Python sends them for what a client typed.
func mendSurrogates(data []byte) []byte {
	if !bytes.Contains(data, []byte(`\ud`)) && !bytes.Contains(data, []byte(`\uD`)) {
		return data
	}
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); {
		n, whole := escape(data[i:])
		if whole {
			out = append(out, data[i:i+n]...)
		} else {
			out = append(out, replacement...)
		}
		i += n
	}
	return out
}

// escape returns the length of what data begins with: a byte, an escape or a pair of surrogates; and whether that is a
// whole character, or a part of one.
func escape(data []byte) (n int, whole bool) {
	const short, long = 2, 6 // \n, and \u000a
	switch {
	case data[0] != '\\':
		return 1, true
	case data[1] != 'u':
		return short, true
	case !surrogate(data):
		return long, true
	case high(data) && len(data) >= 2*long && surrogate(data[long:]) && !high(data[long:]):
		return 2 * long, true
	}
	return long, false
}

// surrogate reports whether data begins with the escape of half a pair.
func surrogate(data []byte) bool {
	return data[0] == '\\' && data[1] == 'u' && (data[2] == 'd' || data[2] == 'D') && data[3] >= '8'
}

// high reports whether a surrogate is the first of its pair: d800 to dbff.
func high(data []byte) bool {
	return data[3] == '8' || data[3] == '9' || data[3]|0x20 == 'a' || data[3]|0x20 == 'b'
}
