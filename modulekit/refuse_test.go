package modulekit

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// TestRefusalOfANameThatWasCutArrives has a text that ends in half a character.
func TestRefusalOfANameThatWasCutArrives(t *testing.T) {
	t.Parallel()
	sent := &callbacksv1.UserMayCreateRoomResponse{Refusal: Refuse("M_FORBIDDEN", "no room called "+"é"[:1])}
	for _, mapping := range []wire.Mapping{wire.Binary, wire.JSON} {
		got := &callbacksv1.UserMayCreateRoomResponse{}
		data, err := wire.Encode(sent, mapping)
		if err == nil {
			err = wire.Decode(data, mapping, got)
		}
		if err != nil || got.GetRefusal().GetError() != "no room called \uFFFD" || !proto.Equal(got.GetRefusal(), sent.GetRefusal()) {
			t.Errorf("JSON %v: %v, %v", mapping, got, err)
		}
	}
}
