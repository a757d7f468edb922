package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/modulebus/modulebus/modulekit"
	cb "github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// gate is the module of the tests. It objects to what has evil in it, and notes what it is asked.
type gate struct {
	mu    sync.Mutex
	asked map[string][]string // by callback, in JSON
	api   *modulekit.ModuleAPI
}

func newGate() *gate { return &gate{asked: map[string][]string{}} }

func (g *gate) module() modulekit.Module[struct{}] {
	return modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error { g.register(api); return nil }}
}

func (g *gate) note(callback string, req proto.Message) {
	var text strings.Builder
	data, _ := protojson.Marshal(req)
	text.Write(data)
	raw(req.ProtoReflect(), &text)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.asked[callback] = append(g.asked[callback], text.String())
}

// raw writes the JSON that a message carries, which the JSON mapping of protobuf has in base64.
func raw(m protoreflect.Message, text *strings.Builder) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				raw(v.List().Get(i).Message(), text)
			}
		case f.IsList() || f.IsMap():
		case f.Message() != nil:
			raw(v.Message(), text)
		case f.Kind() == protoreflect.BytesKind:
			text.Write(v.Bytes())
		}
		return true
	})
}

// heard reports whether the module was asked that with all these words in the request.
func (g *gate) heard(callback string, words ...string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, text := range g.asked[callback] {
		all := true
		for _, word := range words {
			all = all && strings.Contains(text, word)
		}
		if all {
			return true
		}
	}
	return false
}

func (g *gate) wasAsked(t testing.TB, callback string, words ...string) {
	t.Helper()
	if !g.heard(callback, words...) {
		g.mu.Lock()
		defer g.mu.Unlock()
		t.Errorf("%s was not asked with %q in the request, but\n%s", callback, words, strings.Join(g.asked[callback], "\n"))
	}
}

// objects is an errcode of the module's own, with a further field.
func objects(callback string) *cb.Refusal {
	return &cb.Refusal{Errcode: "ORG.EXAMPLE.EVIL", Error: callback + " refuses", AdditionalFields: []byte(`{"org.example.by":"` + callback + `"}`)}
}

// veto objects to requests with evil in what a callback decides by.
func veto[Request, Reply proto.Message](g *gate, callback string, by func(Request) string, refuse func(*cb.Refusal) Reply) func(context.Context, Request) (Reply, error) {
	return func(_ context.Context, r Request) (none Reply, err error) {
		g.note(callback, r)
		switch text := by(r); {
		case strings.Contains(text, "evil"):
			return refuse(objects(callback)), nil
		case strings.Contains(text, "broken"):
			return none, fmt.Errorf("%s is broken", callback)
		}
		return none, nil
	}
}

// told notes what the module is told.
func told[Request, Reply proto.Message](g *gate, callback string) func(context.Context, Request) (Reply, error) {
	return func(_ context.Context, r Request) (none Reply, err error) { g.note(callback, r); return none, nil }
}

// content is what an event says.
func content(e *cb.Event) string {
	var event struct {
		Content json.RawMessage `json:"content"`
	}
	_ = json.Unmarshal(e.GetJson(), &event)
	return string(event.Content)
}

func (g *gate) register(api *modulekit.ModuleAPI) {
	g.mu.Lock()
	g.api = api
	g.mu.Unlock()
	api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
		UserMayCreateRoom: veto(g, "user_may_create_room", func(r *cb.UserMayCreateRoomRequest) string {
			var config struct{ Name string }
			_ = json.Unmarshal(r.GetRoomConfig(), &config)
			return config.Name
		},
			func(r *cb.Refusal) *cb.UserMayCreateRoomResponse { return &cb.UserMayCreateRoomResponse{Refusal: r} }),
		UserMayJoinRoom: veto(g, "user_may_join_room", func(r *cb.UserMayJoinRoomRequest) string {
			return map[bool]string{true: "evil"}[strings.HasPrefix(r.User, "@unwelcome")]
		},
			func(r *cb.Refusal) *cb.UserMayJoinRoomResponse { return &cb.UserMayJoinRoomResponse{Refusal: r} }),
		UserMayInvite: veto(g, "user_may_invite", func(r *cb.UserMayInviteRequest) string { return r.Invitee },
			func(r *cb.Refusal) *cb.UserMayInviteResponse { return &cb.UserMayInviteResponse{Refusal: r} }),
		FederatedUserMayInvite: veto(g, "federated_user_may_invite", func(r *cb.FederatedUserMayInviteRequest) string { return string(r.Event.Json) },
			func(r *cb.Refusal) *cb.FederatedUserMayInviteResponse {
				return &cb.FederatedUserMayInviteResponse{Refusal: r}
			}),
		CheckEventForSpam: veto(g, "check_event_for_spam", func(r *cb.CheckEventForSpamRequest) string { return content(r.Event) },
			func(r *cb.Refusal) *cb.CheckEventForSpamResponse { return &cb.CheckEventForSpamResponse{Refusal: r} }),
		ShouldDropFederatedEvent: veto(g, "should_drop_federated_event", func(r *cb.ShouldDropFederatedEventRequest) string {
			return strings.ReplaceAll(strings.ReplaceAll(content(r.Event), "evil", ""), "dropped", "evil")
		}, func(r *cb.Refusal) *cb.ShouldDropFederatedEventResponse {
			return &cb.ShouldDropFederatedEventResponse{Refusal: r}
		}),
		UserMayCreateRoomAlias: veto(g, "user_may_create_room_alias", func(r *cb.UserMayCreateRoomAliasRequest) string { return r.RoomAlias },
			func(r *cb.Refusal) *cb.UserMayCreateRoomAliasResponse {
				return &cb.UserMayCreateRoomAliasResponse{Refusal: r}
			}),
		UserMayPublishRoom: veto(g, "user_may_publish_room", func(r *cb.UserMayPublishRoomRequest) string {
			return map[bool]string{true: "evil"}[strings.HasPrefix(r.UserId, "@shy")]
		}, func(r *cb.Refusal) *cb.UserMayPublishRoomResponse { return &cb.UserMayPublishRoomResponse{Refusal: r} }),
		UserMaySendStateEvent: veto(g, "user_may_send_state_event", func(r *cb.UserMaySendStateEventRequest) string { return r.EventType },
			func(r *cb.Refusal) *cb.UserMaySendStateEventResponse {
				return &cb.UserMaySendStateEventResponse{Refusal: r}
			}),
		CheckRegistrationForSpam: veto(g, "check_registration_for_spam", func(r *cb.CheckRegistrationForSpamRequest) string { return r.GetUsername() },
			func(r *cb.Refusal) *cb.CheckRegistrationForSpamResponse {
				return &cb.CheckRegistrationForSpamResponse{Refusal: r}
			}),
		CheckLoginForSpam: veto(g, "check_login_for_spam", func(r *cb.CheckLoginForSpamRequest) string { return r.GetInitialDisplayName() },
			func(r *cb.Refusal) *cb.CheckLoginForSpamResponse { return &cb.CheckLoginForSpamResponse{Refusal: r} }),
	})
	api.NeedState(subjects.CheckEventAllowed, modulekit.StateFilter{Type: "m.room.topic"})
	api.NeedState(subjects.OnNewEvent, modulekit.StateFilter{Type: "m.room.create"})
	api.RegisterThirdPartyRulesCallbacks(modulekit.ThirdPartyRulesCallbacks{
		OnCreateRoom: g.onCreateRoom, CheckEventAllowed: g.checkEventAllowed, OnNewEvent: told[*cb.OnNewEventRequest, *cb.OnNewEventResponse](g, "on_new_event"),
	})
	api.RegisterAccountValidityCallbacks(modulekit.AccountValidityCallbacks{
		IsUserExpired: func(_ context.Context, r *cb.IsUserExpiredRequest) (*cb.IsUserExpiredResponse, error) {
			g.note("is_user_expired", r)
			if strings.HasPrefix(r.GetUser(), "@old") {
				return &cb.IsUserExpiredResponse{Expired: new(true)}, nil
			}
			return nil, nil
		},
		OnUserRegistration: told[*cb.OnUserRegistrationRequest, *cb.OnUserRegistrationResponse](g, "on_user_registration"),
		OnUserLogin:        told[*cb.OnUserLoginRequest, *cb.OnUserLoginResponse](g, "on_user_login"),
	})
	api.RegisterPasswordAuthProviderCallbacks(modulekit.PasswordAuthProviderCallbacks{
		AuthCheckers: []modulekit.Keyed[*cb.AuthCheckersRequest, *cb.AuthCheckersResponse]{
			{Key: "m.login.password", Fields: []string{"password"}, Func: g.authCheckers},
			{Key: "org.example.ticket", Fields: []string{"ticket"}, Func: g.authCheckers},
		},
		OnAuthCheckersLogin: told[*cb.OnAuthCheckersLoginRequest, *cb.OnAuthCheckersLoginResponse](g, "on_auth_checkers_login"),
	})
	api.RegisterWebResource("/_synapse/client/gate", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "a page for "+r.URL.Query().Get("name"))
	}))
	api.RegisterWebResource("/gate", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "another page") }))
}

// onCreateRoom names a room after its topic where it is told to, and refuses with a status of its own.
func (g *gate) onCreateRoom(_ context.Context, r *cb.OnCreateRoomRequest) (*cb.OnCreateRoomResponse, error) {
	g.note("on_create_room", r)
	var config map[string]any
	if err := json.Unmarshal(r.GetRequestContent(), &config); err != nil {
		return nil, err
	}
	switch config["topic"] {
	case "nothing here":
		refusal := objects("on_create_room")
		refusal.HttpStatus = new(uint32(http.StatusUnavailableForLegalReasons))
		return &cb.OnCreateRoomResponse{Refusal: refusal}, nil
	case "name me":
		config["name"] = "Named by a module"
		data, err := json.Marshal(config)
		return &cb.OnCreateRoomResponse{RequestContent: data}, err
	}
	return nil, nil
}

// checkEventAllowed forbids swearing, and says kind things in the place of unkind ones.
func (g *gate) checkEventAllowed(_ context.Context, r *cb.CheckEventAllowedRequest) (*cb.CheckEventAllowedResponse, error) {
	g.note("check_event_allowed", r)
	var event map[string]any
	if err := json.Unmarshal(r.GetEvent().GetJson(), &event); err != nil {
		return nil, err
	}
	said, _ := event["content"].(map[string]any)
	switch said["body"] {
	case "a swear word":
		return &cb.CheckEventAllowedResponse{Refusal: objects("check_event_allowed")}, nil
	case "an unkind word":
		said["body"] = "a kind word"
		data, err := json.Marshal(event)
		return &cb.CheckEventAllowedResponse{Replacement: data}, err
	}
	return nil, nil
}

// authCheckers lets everybody in who knows the word.
func (g *gate) authCheckers(_ context.Context, r *cb.AuthCheckersRequest) (*cb.AuthCheckersResponse, error) {
	g.note("auth_checkers", r)
	if !strings.Contains(string(r.GetLoginDict()), "sesame") {
		return nil, nil
	}
	user := r.GetUser()
	if !strings.HasPrefix(user, "@") {
		user = "@" + user + ":" + g.api.ServerName()
	}
	return &cb.AuthCheckersResponse{UserId: user, TellLogin: true, Token: "t"}, nil
}
