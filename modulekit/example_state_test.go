package modulekit_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/modulekit/modulekittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/subjects"
)

// From an empty folder: `go mod init example.com/gate`, `go get github.com/modulebus/modulebus`, and this as main.go, with
// modulekit.Main(gate) as its main function.
func Example() {
	type config struct {
		Deny string `json:"deny"`
	}
	gate := modulekit.Module[config]{Version: "1.0.0", New: func(c config, api *modulekit.ModuleAPI) error {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
			UserMayCreateRoom: func(_ context.Context, req *callbacksv1.UserMayCreateRoomRequest) (*callbacksv1.UserMayCreateRoomResponse, error) {
				if req.GetUserId() != c.Deny {
					return nil, nil // no opinion
				}
				return &callbacksv1.UserMayCreateRoomResponse{Refusal: modulekit.Refuse("M_FORBIDDEN", "Not you")}, nil
			},
		})
		return nil
	}}
	hs, err := modulekittest.New(gate, `{"deny": "@evilguy:example.com"}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, err := hs.SpamChecker.UserMayCreateRoom(context.Background(), &callbacksv1.UserMayCreateRoomRequest{UserId: "@evilguy:example.com"})
	fmt.Println(answer.GetRefusal().GetError(), err)
	// Output: Not you <nil>
}

// A module names the state that it needs, and gets no more.
func ExampleModuleAPI_NeedState() {
	module := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.NeedState(subjects.CheckEventAllowed, modulekit.StateFilter{Type: "m.room.create"})
		api.RegisterThirdPartyRulesCallbacks(modulekit.ThirdPartyRulesCallbacks{
			CheckEventAllowed: func(_ context.Context, req *callbacksv1.CheckEventAllowedRequest) (*callbacksv1.CheckEventAllowedResponse, error) {
				fmt.Println("asked with", len(req.GetStateEvents()), "state event")
				return nil, nil
			},
		})
		return nil
	}}
	hs, err := modulekittest.New(module, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	state := []*callbacksv1.StateEvent{{Type: "m.room.create"}, {Type: "m.room.name"}}
	_, err = hs.ThirdPartyRules.CheckEventAllowed(context.Background(), &callbacksv1.CheckEventAllowedRequest{StateEvents: state})
	fmt.Println(err)
	// Output:
	// asked with 1 state event
	// <nil>
}

// Workers count together with compare-and-set: whoever was overtaken reads again.
func ExampleModuleAPI_KeyValue() {
	count := func(ctx context.Context, api *modulekit.ModuleAPI, user string) error {
		store, err := api.KeyValue(ctx)
		if err != nil {
			return err
		}
		for {
			e, err := store.Get(ctx, user)
			if err != nil && !errors.Is(err, modulekit.ErrKeyNotFound) {
				return err
			}
			if _, err = store.Update(ctx, user, append(e.Value, 'I'), e.Revision); !errors.Is(err, modulekit.ErrConflict) {
				return err
			}
		}
	}
	module := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterAccountValidityCallbacks(modulekit.AccountValidityCallbacks{
			OnUserLogin: func(ctx context.Context, req *callbacksv1.OnUserLoginRequest) (*callbacksv1.OnUserLoginResponse, error) {
				return nil, count(ctx, api, "alice")
			},
		})
		return nil
	}}
	hs, err := modulekittest.New(module, "")
	for range 3 {
		if err == nil {
			_, err = hs.AccountValidity.OnUserLogin(context.Background(), &callbacksv1.OnUserLoginRequest{UserId: "@alice:example.com"})
		}
	}
	logins, _ := hs.Store().Get("alice")
	fmt.Println(logins, err)
	// Output: III <nil>
}

// A module asks the homeserver back. The test answers.
func ExampleModuleAPI_IsUserAdmin() {
	module := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
			UserMayCreateRoom: func(ctx context.Context, req *callbacksv1.UserMayCreateRoomRequest) (*callbacksv1.UserMayCreateRoomResponse, error) {
				admin, err := api.IsUserAdmin(ctx, &moduleapiv1.IsUserAdminRequest{UserId: req.GetUserId()})
				if err != nil || admin.GetIsAdmin() {
					return nil, err
				}
				return &callbacksv1.UserMayCreateRoomResponse{Refusal: modulekit.Refuse("M_FORBIDDEN", "Ask an admin")}, nil
			},
		})
		return nil
	}}
	hs, err := modulekittest.New(module, "", modulekittest.Script{API: modulekittest.ModuleAPI{
		IsUserAdmin: func(_ context.Context, req *moduleapiv1.IsUserAdminRequest) (*moduleapiv1.IsUserAdminResponse, error) {
			return &moduleapiv1.IsUserAdminResponse{IsAdmin: req.GetUserId() == "@admin:example.com"}, nil
		},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, user := range []string{"@admin:example.com", "@alice:example.com"} {
		answer, err := hs.SpamChecker.UserMayCreateRoom(context.Background(), &callbacksv1.UserMayCreateRoomRequest{UserId: user})
		fmt.Printf("%s: %q, %v\n", user, answer.GetRefusal().GetError(), err)
	}
	// Output:
	// @admin:example.com: "", <nil>
	// @alice:example.com: "Ask an admin", <nil>
}

// A page takes an upload; any http.Handler does, and the body is streamed.
func ExampleModuleAPI_RegisterWebResource_upload() {
	module := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterWebResource("/_synapse/client/evidence", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			file, header, err := r.FormFile("file")
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			defer file.Close()
			fmt.Fprintf(w, "%s has %d bytes", header.Filename, header.Size)
		}))
		return nil
	}}
	hs, err := modulekittest.New(module, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	body := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhello\r\n--b--\r\n"
	req := httptest.NewRequest(http.MethodPost, "/_synapse/client/evidence", strings.NewReader(body))
	req.Header.Set("Content-Type", "multipart/form-data; boundary=b")
	rsp := httptest.NewRecorder()
	hs.Web.ServeHTTP(rsp, req)
	fmt.Println(rsp.Body)
	// Output: a.txt has 5 bytes
}

// One worker of all cleans up each hour; each of them reports every minute. The test lets time pass.
func ExampleModuleAPI_LoopingBackgroundCall() {
	cleaned, reported := 0, 0
	module := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.LoopingBackgroundCall(time.Hour, func(context.Context) error { cleaned++; return nil })
		api.LoopingBackgroundCallOnAllInstances(time.Minute, func(context.Context) error { reported++; return nil })
		return nil
	}}
	hs, err := modulekittest.New(module, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	hs.Advance(context.Background(), 2*time.Hour)
	fmt.Println(cleaned, reported)
	hs.Lead(false) // Another worker leads from now on.
	hs.Advance(context.Background(), time.Hour)
	fmt.Println(cleaned, reported)
	// Output:
	// 2 120
	// 2 180
}
