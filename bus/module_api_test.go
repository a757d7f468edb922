package bus_test

import (
	"context"
	"net/http"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/subjects"
)

// What reaches the homeserver as JSON is JSON, in protobuf as in the JSON mapping.
func TestCallWithWhatIsNoJSONIsNotMade(t *testing.T) {
	t.Parallel()
	listed := entry("a")
	listed.Grants = []string{"rooms.send"}
	s := newStage(t, natstest.InProcess(t), listed)
	made := make(chan string, 1)
	stop, err := s.ServeCalls(func(_ context.Context, _ *subjects.Method, req proto.Message) (proto.Message, error) {
		made <- string(req.(*moduleapiv1.CreateAndSendEventIntoRoomRequest).GetEventDict())
		return &moduleapiv1.CreateAndSendEventIntoRoomResponse{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	call := func(event string) *matrix.Error {
		raw, err := proto.Marshal(&moduleapiv1.CreateAndSendEventIntoRoomRequest{EventDict: []byte(event)})
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.nc.RequestWithContext(t.Context(), names.API(subjects.APICreateAndSendEventIntoRoom.Method, "a"), raw)
		if err != nil {
			t.Fatal(err)
		}
		return wire.MatrixErrorOf(m)
	}
	for _, event := range []string{"{", "[]", "secret"} {
		want := matrix.Error{Status: http.StatusBadRequest, Errcode: "M_BAD_JSON", Text: "field event_dict: must be a JSON object"}
		if got := call(event); got == nil || *got != want {
			t.Errorf("%s: got %v, want %v", event, got, want)
		}
	}
	if got := call(`{"type":"m"}`); got != nil || <-made != `{"type":"m"}` {
		t.Errorf("got %v", got)
	}
	if len(made) > 0 {
		t.Errorf("%s was made", <-made)
	}
}
