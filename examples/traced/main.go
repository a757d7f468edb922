// Command traced is a module whose spans go to a collector of OpenTelemetry, as the variables OTEL_… say. It lets admins create
// rooms, and nobody else.
package main

import (
	"context"
	"io"
	"net/http"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/modulekit/traces"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
)

func main() {
	modulekit.Main(modulekit.Module[struct{}]{New: register, TracerProvider: traces.Provider("traced")})
}

func register(_ struct{}, api *modulekit.ModuleAPI) error {
	api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
		UserMayCreateRoom: func(ctx context.Context, req *callbacksv1.UserMayCreateRoomRequest) (*callbacksv1.UserMayCreateRoomResponse, error) {
			reply, err := api.IsUserAdmin(ctx, &moduleapiv1.IsUserAdminRequest{UserId: req.GetUserId()})
			if err != nil || reply.GetIsAdmin() {
				return nil, err
			}
			return &callbacksv1.UserMayCreateRoomResponse{Refusal: modulekit.Refuse("M_FORBIDDEN", "Admins create rooms here")}, nil
		},
	})
	api.RegisterWebResource("/_synapse/client/traced/hello", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "hello")
	}))
	return nil
}
