package wire_test

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// Answers of two kinds: one that can be nothing but a refusal, and one that can be something else, too.
func TestRefusalIsWrittenAsProtobuf(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Just("\xff"))
		r := &callbacksv1.Refusal{Errcode: text.Draw(t, "errcode"), Error: text.Draw(t, "error")}
		if rapid.IntRange(0, 3).Draw(t, "has a status") == 0 {
			r.HttpStatus = new(rapid.Uint32().Draw(t, "status"))
		}
		if rapid.IntRange(0, 3).Draw(t, "has fields") == 0 {
			r.AdditionalFields = []byte(`{"a":1}`)
		}
		if rapid.IntRange(0, 3).Draw(t, "has an unknown field") == 0 {
			r.ProtoReflect().SetUnknown([]byte{9 << 3, 1})
		}
		for _, m := range []proto.Message{
			&callbacksv1.UserMayCreateRoomResponse{Refusal: r},
			&callbacksv1.CheckEventAllowedResponse{Refusal: r, Replacement: []byte(rapid.SampledFrom([]string{"", "{}"}).Draw(t, "replacement"))},
		} {
			data, err := wire.Append(rapid.SliceOf(rapid.Byte()).Draw(t, "buffer"), m, wire.Binary)
			theirs, theirErr := proto.Marshal(m)
			if (err == nil) != (theirErr == nil) || err == nil && !bytes.Equal(data, theirs) {
				t.Fatalf("%v was written as %x, %v; by package proto as %x, %v", m, data, err, theirs, theirErr)
			}
		}
	})
}
