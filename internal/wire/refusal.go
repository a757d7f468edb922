package wire

import (
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// Most answers that are not silence are a refusal with an errcode and a text. Here those are read and written without package proto, in the
// same bytes; all else is left to it, as in [readUnsigned]. See ADR 63.

// RefusalNumber is the number of the field of an answer that is a refusal.
const RefusalNumber = 1

// The fields of an answer and of its refusal, by their tags.
const (
	refusalTag = RefusalNumber<<3 | byte(protowire.BytesType)
	codeTag    = 1<<3 | byte(protowire.BytesType)
	textTag    = 2<<3 | byte(protowire.BytesType)
)

// ReadRefusal returns the refusal that an answer is, and whether data is as package proto writes an answer to a callback that can refuse
// which is a refusal with an errcode and a text, or one of them, and nothing else.
func ReadRefusal(data []byte) (r *callbacksv1.Refusal, ok bool) {
	if len(data) == 0 || data[0] != refusalTag {
		return nil, false
	}
	in := reader{data: data, text: string(data)}
	end := in.open(refusalTag, len(data))
	r = &callbacksv1.Refusal{Errcode: in.optional(codeTag, end), Error: in.optional(textTag, end)}
	in.close(end)
	in.close(len(data))
	return r, !in.odd
}

// refuser is an answer that may be a refusal.
type refuser interface {
	proto.Message
	GetRefusal() *callbacksv1.Refusal
}

// appendRefusal adds m to a buffer, and reports whether it is one that [ReadRefusal] reads.
func appendRefusal(buffer []byte, m refuser) (_ []byte, ok bool) {
	r := m.GetRefusal()
	if tag, alone := theOnly(m); !alone || tag != refusalTag || r == nil {
		return buffer, false
	}
	if len(r.AdditionalFields) > 0 || r.HttpStatus != nil || len(r.ProtoReflect().GetUnknown()) > 0 {
		return buffer, false
	}
	const around = 10 // The bytes of three tags and of lengths, of short texts.
	w := writer{data: slices.Grow(buffer, around+len(r.Errcode)+len(r.Error))}
	refusal := w.open(refusalTag)
	w.optional(codeTag, r.Errcode)
	w.optional(textTag, r.Error)
	w.close(refusal)
	return w.data, !w.odd
}
