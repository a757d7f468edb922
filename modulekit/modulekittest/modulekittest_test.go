package modulekittest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/modulekit/modulekittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/subjects"
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

func TestStoreCanBeFull(t *testing.T) {
	t.Parallel()
	hs := modulekittest.Start(t, module(func(ctx context.Context, api *modulekit.ModuleAPI) error {
		store, err := api.KeyValue(ctx)
		if err != nil {
			return err
		}
		_, err = store.Put(ctx, "key", []byte("2"))
		return err
	}), "")
	tell := func() error {
		_, err := hs.SpamChecker.UserMayCreateRoom(t.Context(), &callbacksv1.UserMayCreateRoomRequest{})
		return err
	}
	hs.Store().SetFull(true)
	if err := tell(); err == nil || !strings.Contains(err.Error(), modulekit.ErrStoreFull.Error()) {
		t.Errorf("a full store takes what is written: %v", err)
	}
	hs.Store().SetFull(false)
	if err := tell(); err != nil {
		t.Error(err)
	}
}

func TestNewsHasAnID(t *testing.T) {
	t.Parallel()
	var ids []string
	hs := modulekittest.Start(t, module(func(ctx context.Context, _ *modulekit.ModuleAPI) error {
		ids = append(ids, modulekit.NewsID(ctx))
		return nil
	}), "")
	for _, ctx := range []context.Context{t.Context(), modulekittest.WithNewsID(t.Context(), "news-1")} {
		if _, err := hs.SpamChecker.UserMayCreateRoom(ctx, &callbacksv1.UserMayCreateRoomRequest{}); err != nil {
			t.Error(err)
		}
	}
	if want := []string{"", "news-1"}; !slices.Equal(ids, want) {
		t.Errorf("the module was told %q; want %q", ids, want)
	}
}

func TestBatchSaysWhatWasLost(t *testing.T) {
	t.Parallel()
	var got *decision.Batch
	hs := modulekittest.Start(t, modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.ReadDecisions(func(_ context.Context, b *decision.Batch) error { got = b; return nil })
		return nil
	}}, "")
	want := &decision.Batch{Decisions: []decision.Record{{ID: "d-1"}}, Lost: 3}
	if err := hs.HandBatch(t.Context(), want); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the module was given %+v (%v); want %+v", got, err, want)
	}
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

func TestAdvanceMakesTheCallsThatAreDueInOrder(t *testing.T) {
	t.Parallel()
	var calls []string
	hs := modulekittest.Start(t, modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		note := func(name string) func(context.Context) error {
			return func(context.Context) error { calls = append(calls, name); return nil }
		}
		api.LoopingBackgroundCall(2*time.Minute, note("led"))
		api.LoopingBackgroundCallOnAllInstances(3*time.Minute, note("all"))
		return nil
	}}, "")
	for _, step := range []struct {
		lead  bool
		by    time.Duration
		calls string
	}{
		{true, time.Minute, ""},
		{true, 5 * time.Minute, "led all led all led"},
		{false, 6 * time.Minute, "all all"}, // Another worker leads.
		{true, 2 * time.Minute, "led"},
	} {
		calls = nil
		hs.Lead(step.lead)
		hs.Advance(t.Context(), step.by)
		got := slices.Sorted(slices.Values(calls))
		want := slices.Sorted(slices.Values(strings.Fields(step.calls)))
		if !slices.Equal(got, want) {
			t.Errorf("in %v, leading %v: called %v, want %s", step.by, step.lead, calls, step.calls)
		}
	}
}

func TestWebResourceOfTheLongestPathServes(t *testing.T) {
	t.Parallel()
	page := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	hs := modulekittest.Start(t, modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterWebResource("/_synapse/client/x", page("outer"))
		api.RegisterWebResource("/_synapse/client/x/in", page("inner"))
		return nil
	}}, "")
	for path, want := range map[string]string{
		"/_synapse/client/x/in/deep": "200 inner", "/_synapse/client/x/into": "200 outer", "/_synapse/client/y": "404 404 page not found\n",
	} {
		w := httptest.NewRecorder()
		hs.Web.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if got := fmt.Sprint(w.Code, " ", w.Body); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestCallbacksAreWhatTheModuleRegistered(t *testing.T) {
	t.Parallel()
	hs := ask(t, func(context.Context, *modulekit.ModuleAPI) error { return nil })
	if got := hs.Callbacks(); len(got) != 1 || got[0] != subjects.UserMayCreateRoom.Declaration {
		t.Errorf("got %v", got)
	}
	// What it did not register, it has no opinion about.
	if reply, err := hs.SpamChecker.UserMayInvite(t.Context(), &callbacksv1.UserMayInviteRequest{}); reply != nil || err != nil {
		t.Errorf("got %v, %v", reply, err)
	}
}

// A module that forgot to select state, or to register for a field, must not pass its test: on a bus, it would get neither.
func TestModuleGetsOnlyWhatItRegisteredFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state  []modulekit.StateFilter
		fields []string
		want   string
	}{
		"nothing":            {want: "{}"},
		"a type and a field": {[]modulekit.StateFilter{{Type: "m.room.name"}}, []string{"password"}, `m.room.name {"password":"a"}`},
		"all state":          {[]modulekit.StateFilter{modulekit.AllState()}, []string{"absent"}, "m.room.create m.room.name {}"},
	} {
		var got []string
		hs := modulekittest.Start(t, modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
			if c.state != nil {
				api.NeedState(subjects.CheckEventAllowed, c.state...)
			}
			api.RegisterThirdPartyRulesCallbacks(modulekit.ThirdPartyRulesCallbacks{
				CheckEventAllowed: func(_ context.Context, req *callbacksv1.CheckEventAllowedRequest) (*callbacksv1.CheckEventAllowedResponse, error) {
					for _, e := range req.GetStateEvents() {
						got = append(got, e.GetType())
					}
					return nil, nil
				},
			})
			api.RegisterPasswordAuthProviderCallbacks(modulekit.PasswordAuthProviderCallbacks{
				AuthCheckers: []modulekit.Keyed[*callbacksv1.AuthCheckersRequest, *callbacksv1.AuthCheckersResponse]{{
					Key: "m.login.password", Fields: c.fields,
					Func: func(_ context.Context, req *callbacksv1.AuthCheckersRequest) (*callbacksv1.AuthCheckersResponse, error) {
						got = append(got, string(req.GetLoginDict()))
						return nil, nil
					},
				}},
			})
			return nil
		}}, "")
		event := &callbacksv1.CheckEventAllowedRequest{StateEvents: []*callbacksv1.StateEvent{{Type: "m.room.create"}, {Type: "m.room.name"}}}
		login := &callbacksv1.AuthCheckersRequest{LoginType: "m.login.password", LoginDict: []byte(`{"password":"a","captcha":"b"}`)}
		_, err := hs.ThirdPartyRules.CheckEventAllowed(t.Context(), event)
		_, failed := hs.PasswordAuthProvider.AuthCheckers(t.Context(), login)
		if text := strings.Join(got, " "); text != c.want || err != nil || failed != nil {
			t.Errorf("%s: got %q, %v, %v; want %q", name, text, err, failed, c.want)
		}
		if len(event.GetStateEvents()) != 2 || len(login.GetLoginDict()) < 20 {
			t.Errorf("%s: the test's own messages were changed", name)
		}
	}
}

// Whatever a module calls, the function of that name in the script answers, with what the module sent.
func TestEachMethodReachesItsFunctionOfTheScript(t *testing.T) {
	t.Parallel()
	var script modulekittest.ModuleAPI
	var heard string
	functions := reflect.ValueOf(&script).Elem()
	for i := range functions.NumField() {
		name := functions.Type().Field(i).Name
		functions.Field(i).Set(reflect.MakeFunc(functions.Field(i).Type(), func([]reflect.Value) []reflect.Value {
			heard = name
			out := functions.Field(i).Type()
			return []reflect.Value{reflect.New(out.Out(0).Elem()), reflect.Zero(out.Out(1))}
		}))
	}
	ask(t, func(ctx context.Context, api *modulekit.ModuleAPI) error {
		methods := reflect.ValueOf(api)
		for i := range functions.NumField() {
			name := functions.Type().Field(i).Name
			m := methods.MethodByName(name)
			if !m.IsValid() {
				t.Errorf("modules cannot call %s", name)
				continue
			}
			out := m.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.New(m.Type().In(1).Elem())})
			if err, _ := reflect.TypeAssert[error](out[1]); err != nil || heard != name {
				t.Errorf("a call of %s reached %q, %v", name, heard, err)
			}
		}
		return nil
	}, modulekittest.Script{API: script})
}

// Whatever a homeserver asks, the function of that name in the module answers.
func TestEachCallbackReachesTheModule(t *testing.T) {
	t.Parallel()
	var heard string
	hs := modulekittest.Start(t, modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		methods := reflect.ValueOf(api)
		for i := range methods.NumMethod() {
			name := methods.Type().Method(i).Name
			if strings.HasPrefix(name, "Register") && strings.HasSuffix(name, "Callbacks") {
				methods.Method(i).Call([]reflect.Value{noting(methods.Type().Method(i).Type.In(1), &heard)})
			}
		}
		return nil
	}}, "")
	categories := reflect.ValueOf(hs.Categories)
	asked := 0
	for _, category := range categories.Fields() {
		for j := range category.NumMethod() {
			name, m := category.Type().Method(j).Name, category.Method(j)
			if name == "AuthCheckers" { // It is registered by login types; package modulekit has tests of that.
				continue
			}
			out := m.Call([]reflect.Value{reflect.ValueOf(t.Context()), reflect.New(m.Type().In(1).Elem())})
			if err, _ := reflect.TypeAssert[error](out[1]); err != nil || heard != name {
				t.Errorf("%s reached %q, %v", name, heard, err)
			}
			asked++
		}
	}
	if asked != len(subjects.All())-1 {
		t.Errorf("asked %d of %d callbacks", asked, len(subjects.All()))
	}
}

// noting is a struct of callbacks, each of which notes its name and has no opinion.
func noting(of reflect.Type, heard *string) reflect.Value {
	callbacks := reflect.New(of).Elem()
	for i := range of.NumField() {
		f, name := of.Field(i).Type, of.Field(i).Name
		if f.Kind() != reflect.Func {
			continue
		}
		callbacks.Field(i).Set(reflect.MakeFunc(f, func([]reflect.Value) []reflect.Value {
			*heard = name
			return []reflect.Value{reflect.Zero(f.Out(0)), reflect.Zero(f.Out(1))}
		}))
	}
	return callbacks
}
