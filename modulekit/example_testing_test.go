package modulekit_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/modulekit/modulekittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

type roomGateConfig struct {
	Deny []string `json:"deny"`
}

// roomGate is the module under test.
var roomGate = modulekit.Module[roomGateConfig]{Version: "1.0.0", New: newRoomGate}

func newRoomGate(c roomGateConfig, api *modulekit.ModuleAPI) error {
	api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
		UserMayCreateRoom: func(
			_ context.Context, req *callbacksv1.UserMayCreateRoomRequest,
		) (*callbacksv1.UserMayCreateRoomResponse, error) {
			if !slices.Contains(c.Deny, req.GetUserId()) {
				return nil, nil
			}
			return &callbacksv1.UserMayCreateRoomResponse{Refusal: modulekit.Refuse("M_FORBIDDEN", "Not you")}, nil
		},
	})
	api.RegisterWebResource("/_synapse/client/gate", http.NotFoundHandler())
	return nil
}

func TestRoomGate(t *testing.T) {
	t.Parallel()
	hs := modulekittest.Start(t, roomGate, `{"deny": ["@evilguy:example.com"]}`)
	for user, want := range map[string]string{"@evilguy:example.com": "M_FORBIDDEN", "@alice:example.com": ""} {
		answer, err := hs.SpamChecker.UserMayCreateRoom(t.Context(), &callbacksv1.UserMayCreateRoomRequest{UserId: user})
		if got := answer.GetRefusal().GetErrcode(); err != nil || got != want {
			t.Errorf("%s: refusal %q (%v), want %q", user, got, err, want)
		}
	}
}

func TestRoomGateRefusesItsConfig(t *testing.T) {
	t.Parallel()
	_, err := modulekittest.TryStart(t, roomGate, `{"deny": "@evilguy:example.com"}`)
	var refused *modulekit.ConfigError
	if !errors.As(err, &refused) || refused.Path != "deny" {
		t.Errorf("got %v; want a refusal of deny", err)
	}
}

func TestRoomGatePage(t *testing.T) {
	t.Parallel()
	hs := modulekittest.Start(t, roomGate, `{}`)
	rsp := httptest.NewRecorder()
	hs.Web.ServeHTTP(rsp, httptest.NewRequest(http.MethodGet, "/_synapse/client/gate", nil))
	if rsp.Code != http.StatusNotFound {
		t.Errorf("status %d", rsp.Code)
	}
}
