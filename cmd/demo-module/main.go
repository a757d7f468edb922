// Command demo-module is the example of Synapse's first page on modules, in another process: it refuses the creation of
// rooms to some users, and says hello.
package main

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

func main() { modulekit.Main(modulekit.Module[config]{Version: "1.0.0", New: newDemo}) }

type config struct {
	Deny []string `json:"deny"` // users who may not create rooms
}

func newDemo(c config, api *modulekit.ModuleAPI) error {
	d := demo{c}
	api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{UserMayCreateRoom: d.userMayCreateRoom})
	api.RegisterWebResource("/_synapse/client/demo/hello", http.HandlerFunc(hello))
	return nil
}

type demo struct{ config config }

func (d demo) userMayCreateRoom(
	_ context.Context, req *callbacksv1.UserMayCreateRoomRequest,
) (*callbacksv1.UserMayCreateRoomResponse, error) {
	if !slices.Contains(d.config.Deny, req.GetUserId()) {
		return nil, nil // no opinion
	}
	refusal := modulekit.Refuse("M_FORBIDDEN", "You may not create rooms")
	return &callbacksv1.UserMayCreateRoomResponse{Refusal: refusal}, nil
}

func hello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"hello": r.URL.Query().Get("name")})
}
