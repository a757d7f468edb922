package modulekittest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/modulekit/modulekittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
)

// module runs a function when it is asked whether a room may be created.
func module(f func(ctx context.Context, api *modulekit.ModuleAPI) error) modulekit.Module[struct{}] {
	return modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
			UserMayCreateRoom: func(ctx context.Context, _ *callbacksv1.UserMayCreateRoomRequest) (*callbacksv1.UserMayCreateRoomResponse, error) {
				return nil, f(ctx, api)
			},
		})
		return nil
	}}
}

// New is for where there is no *testing.T.
func ExampleNew() {
	hs, err := modulekittest.New(module(func(context.Context, *modulekit.ModuleAPI) error { return errors.New("out of order") }), "")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = hs.SpamChecker.UserMayCreateRoom(context.Background(), &callbacksv1.UserMayCreateRoomRequest{})
	fmt.Println(err)
	// Output: error: out of order
}

func ask(t *testing.T, f func(ctx context.Context, api *modulekit.ModuleAPI) error, script ...modulekittest.Script) *modulekittest.Homeserver {
	t.Helper()
	hs := modulekittest.Start(t, module(f), "", script...)
	if _, err := hs.SpamChecker.UserMayCreateRoom(t.Context(), &callbacksv1.UserMayCreateRoomRequest{}); err != nil {
		t.Error(err)
	}
	return hs
}

func TestMethodWithoutAScriptIsUnrecognized(t *testing.T) {
	t.Parallel()
	ask(t, func(ctx context.Context, api *modulekit.ModuleAPI) error {
		_, err := api.IsUserAdmin(ctx, &moduleapiv1.IsUserAdminRequest{})
		var e *modulekit.MatrixError
		if !errors.As(err, &e) || e.Errcode != "M_UNRECOGNIZED" {
			t.Errorf("got %v", err)
		}
		return nil
	})
}

func TestErrorOfTheScriptIsWhatAHomeserverWouldSay(t *testing.T) {
	t.Parallel()
	fails := func(err error) func(context.Context, *moduleapiv1.IsUserAdminRequest) (*moduleapiv1.IsUserAdminResponse, error) {
		return func(context.Context, *moduleapiv1.IsUserAdminRequest) (*moduleapiv1.IsUserAdminResponse, error) {
			return nil, err
		}
	}
	for text, err := range map[string]error{
		"modulekit: is_user_admin: 403 M_FORBIDDEN: no":                  &modulekit.MatrixError{Status: 403, Errcode: "M_FORBIDDEN", Text: "no"},
		"modulekit: is_user_admin: 500 M_UNKNOWN: Internal server error": errors.New("inside"),
	} {
		ask(t, func(ctx context.Context, api *modulekit.ModuleAPI) error {
			if _, err := api.IsUserAdmin(ctx, &moduleapiv1.IsUserAdminRequest{}); err == nil || err.Error() != text {
				t.Errorf("got %v, want %s", err, text)
			}
			return nil
		}, modulekittest.Script{API: modulekittest.ModuleAPI{IsUserAdmin: fails(err)}})
	}
}

func TestStoreIsInMemory(t *testing.T) {
	t.Parallel()
	hs := ask(t, func(ctx context.Context, api *modulekit.ModuleAPI) error {
		store, err := api.KeyValue(ctx)
		if err != nil {
			return err
		}
		revision, err := store.Create(ctx, "a", []byte("1"))
		if _, again := store.Create(ctx, "a", nil); err != nil || !errors.Is(again, modulekit.ErrConflict) {
			t.Errorf("got %v, %v", err, again)
		}
		for e := range store.Watch(ctx) {
			if e.Key != "a" || e.Revision != revision {
				t.Errorf("watched %v", e)
			}
			break
		}
		if keys, err := store.Keys(ctx); err != nil || len(keys) != 1 {
			t.Errorf("got %v, %v", keys, err)
		}
		if err := store.Delete(ctx, "a"); err != nil {
			return err
		}
		if all, err := store.History(ctx, "a"); err != nil || len(all) != 2 || !all[1].Deleted {
			t.Errorf("got %v, %v", all, err)
		}
		_, err = store.Create(ctx, "a", []byte("2")) // A key that was deleted is not there.
		return err
	})
	if value, ok := hs.Store().Get("a"); !ok || value != "2" {
		t.Errorf("got %q, %v", value, ok)
	}
	hs.Store().Put("b", "x")
	if _, ok := hs.Store().Get("c"); ok {
		t.Error("a key that nobody wrote is there")
	}
}

func TestScriptMayHaveNoStore(t *testing.T) {
	t.Parallel()
	ask(t, func(ctx context.Context, api *modulekit.ModuleAPI) error {
		if _, err := api.KeyValue(ctx); !errors.Is(err, modulekit.ErrNoStore) {
			t.Errorf("got %v", err)
		}
		return nil
	}, modulekittest.Script{NoStore: true})
}

func TestFileIsRead(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("0123456789"), 30_000) // more than a piece
	var got []byte
	hs := modulekittest.Start(t, modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
			CheckMediaFileForSpam: func(ctx context.Context, req *callbacksv1.CheckMediaFileForSpamRequest) (_ *callbacksv1.CheckMediaFileForSpamResponse, err error) {
				got, err = io.ReadAll(api.OpenFile(ctx, req.GetFileWrapper()))
				return nil, err
			},
		})
		return nil
	}}, "")
	for _, file := range []*callbacksv1.FileWrapper{hs.File(bytes.NewReader(content)), nil} {
		_, err := hs.SpamChecker.CheckMediaFileForSpam(t.Context(), &callbacksv1.CheckMediaFileForSpamRequest{FileWrapper: file})
		if file != nil && (err != nil || !bytes.Equal(got, content)) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		if file == nil && err == nil {
			t.Error("a file without content was read")
		}
	}
}
