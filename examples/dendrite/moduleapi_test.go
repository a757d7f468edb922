package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/modulekit"
	moduleapi "github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/subjects"
	"maunium.net/go/mautrix"
)

// of is the answer of a call that must go well.
func of[T any](t testing.TB) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// errcode is that of a call that must not go well.
func errcode(t *testing.T, err error) string {
	t.Helper()
	var e *modulekit.MatrixError
	if !errors.As(err, &e) {
		t.Fatalf("%v; want a Matrix error", err)
	}
	return e.Errcode
}

func TestModulesCallDendrite(t *testing.T) {
	g := newGate()
	s := found(t, gated, g.module())
	s.knows(subjects.UserMayCreateRoom)
	alice, bob := s.register("alice"), s.register("bob")
	room := alice.createRoom(mautrix.ReqCreateRoom{Preset: "public_chat", Topic: "all things"})
	api, ctx := g.api, t.Context()

	t.Run("properties", func(t *testing.T) {
		p := of[*moduleapi.PropertiesResponse](t)(api.Properties(ctx, &moduleapi.PropertiesRequest{}))
		if p.GetServerName() != s.name || !strings.HasPrefix(p.GetVersion(), "Dendrite ") {
			t.Errorf("%v", p)
		}
	})
	t.Run("users", func(t *testing.T) {
		if got := of[*moduleapi.CheckUserExistsResponse](t)(api.CheckUserExists(ctx, &moduleapi.CheckUserExistsRequest{UserId: alice.id})); got.GetUserId() != alice.id {
			t.Errorf("alice is %v", got)
		}
		nobody := "@nobody:" + s.name
		if got := of[*moduleapi.CheckUserExistsResponse](t)(api.CheckUserExists(ctx, &moduleapi.CheckUserExistsRequest{UserId: nobody})); got.UserId != nil {
			t.Errorf("nobody is %v", got)
		}
		if got := of[*moduleapi.IsUserAdminResponse](t)(api.IsUserAdmin(ctx, &moduleapi.IsUserAdminRequest{UserId: alice.id})); got.GetIsAdmin() {
			t.Error("alice is an admin")
		}
		got := of[*moduleapi.GetUserByReqResponse](t)(api.GetUserByReq(ctx, &moduleapi.GetUserByReqRequest{AccessToken: alice.token}))
		if got.GetRequester().GetUserId() != alice.id {
			t.Errorf("alice's token is of %v", got)
		}
		_, err := api.GetUserByReq(ctx, &moduleapi.GetUserByReqRequest{AccessToken: "a lie"})
		if got := errcode(t, err); got != "M_UNKNOWN_TOKEN" {
			t.Errorf("an unknown token: %s", got)
		}
		_, err = api.GetProfileForUser(ctx, &moduleapi.GetProfileForUserRequest{Localpart: "nobody"})
		if got := errcode(t, err); got != "M_NOT_FOUND" {
			t.Errorf("nobody's profile: %s", got)
		}
	})
	t.Run("register_user", func(t *testing.T) {
		made := of[*moduleapi.RegisterUserResponse](t)(api.RegisterUser(ctx, &moduleapi.RegisterUserRequest{Localpart: "robot", Displayname: new("Robot")}))
		profile := of[*moduleapi.GetProfileForUserResponse](t)(api.GetProfileForUser(ctx, &moduleapi.GetProfileForUserRequest{Localpart: "robot"}))
		if made.GetUserId() != "@robot:"+s.name || profile.GetProfile().GetDisplayName() != "Robot" {
			t.Errorf("%v %v", made, profile)
		}
		_, err := api.RegisterUser(ctx, &moduleapi.RegisterUserRequest{Localpart: "robot"})
		if got := errcode(t, err); got != "M_USER_IN_USE" {
			t.Errorf("a second one: %s", got)
		}
		in := of[*moduleapi.RegisterDeviceResponse](t)(api.RegisterDevice(ctx, &moduleapi.RegisterDeviceRequest{UserId: made.GetUserId()}))
		if got := of[*mautrix.RespWhoami](t)(s.client("", in.GetAccessToken()).Whoami(ctx)).UserID; string(got) != made.GetUserId() {
			t.Errorf("the device is of %v", got)
		}
	})
	t.Run("create_login_token", func(t *testing.T) {
		made := of[*moduleapi.CreateLoginTokenResponse](t)(api.CreateLoginToken(ctx, &moduleapi.CreateLoginTokenRequest{UserId: bob.id}))
		in := of[*mautrix.RespLogin](t)(s.nobody().Login(ctx, &mautrix.ReqLogin{Type: mautrix.AuthTypeToken, Token: made.GetToken()}))
		if string(in.UserID) != bob.id {
			t.Errorf("logged in as %v", in.UserID)
		}
	})
	t.Run("create_and_send_event_into_room", func(t *testing.T) {
		say := func(text string) (*moduleapi.CreateAndSendEventIntoRoomResponse, error) {
			dict, _ := json.Marshal(fields{
				"type": "m.room.message", "room_id": room, "sender": alice.id, "content": fields{"msgtype": "m.text", "body": text},
			})
			return api.CreateAndSendEventIntoRoom(ctx, &moduleapi.CreateAndSendEventIntoRoomRequest{EventDict: dict})
		}
		of[*moduleapi.CreateAndSendEventIntoRoomResponse](t)(say("by a module"))
		_, err := say("an evil one")
		if got := errcode(t, err); got != "ORG.EXAMPLE.EVIL" {
			t.Errorf("what the module itself refuses: %s", got)
		}
		changed := of[*moduleapi.CreateAndSendEventIntoRoomResponse](t)(say("an unkind word"))
		if !strings.Contains(string(changed.GetEvent().GetJson()), "a kind word") {
			t.Errorf("%s", changed.GetEvent().GetJson())
		}
		if got := alice.bodies(room); len(got) != 2 || got[0] != "a kind word" || got[1] != "by a module" {
			t.Errorf("the room has %v", got)
		}
	})
	t.Run("rooms", func(t *testing.T) {
		topic := &moduleapi.StateEventType{Type: "m.room.topic"}
		state := of[*moduleapi.GetRoomStateResponse](t)(api.GetRoomState(ctx, &moduleapi.GetRoomStateRequest{RoomId: string(room), EventFilter: []*moduleapi.StateEventType{topic}}))
		if len(state.GetState()) != 1 || !strings.Contains(string(state.GetState()[0].GetEvent().GetJson()), "all things") {
			t.Errorf("%v", state)
		}
		all := of[*moduleapi.GetRoomStateResponse](t)(api.GetRoomState(ctx, &moduleapi.GetRoomStateRequest{RoomId: string(room)}))
		if len(all.GetState()) < 5 {
			t.Errorf("%d events are all of the state", len(all.GetState()))
		}
		joined := of[*moduleapi.UpdateRoomMembershipResponse](t)(api.UpdateRoomMembership(ctx, &moduleapi.UpdateRoomMembershipRequest{
			Sender: bob.id, Target: bob.id, RoomId: string(room), NewMembership: "join",
		}))
		if !strings.Contains(string(joined.GetEvent().GetJson()), bob.id) {
			t.Errorf("%s", joined.GetEvent().GetJson())
		}
		of[*moduleapi.UpdateRoomMembershipResponse](t)(api.UpdateRoomMembership(ctx, &moduleapi.UpdateRoomMembershipRequest{
			Sender: alice.id, Target: bob.id, RoomId: string(room), NewMembership: "ban",
		}))
		if status, answer := bob.message(room, "hello?"); status != 403 {
			t.Errorf("banned, and yet: %d %v", status, answer)
		}
		made := of[*moduleapi.CreateRoomResponse](t)(api.CreateRoom(ctx, &moduleapi.CreateRoomRequest{
			UserId: alice.id, Config: []byte(`{"preset": "public_chat", "room_alias_name": "made"}`),
		}))
		found := of[*moduleapi.LookupRoomAliasResponse](t)(api.LookupRoomAlias(ctx, &moduleapi.LookupRoomAliasRequest{RoomAlias: made.GetRoomAlias()}))
		if found.GetRoomId() != made.GetRoomId() {
			t.Errorf("%v; want %v", found, made)
		}
		_, err := api.CreateRoom(ctx, &moduleapi.CreateRoomRequest{UserId: alice.id, Config: []byte(`{"name": "evil"}`)})
		if got := errcode(t, err); got != "ORG.EXAMPLE.EVIL" {
			t.Errorf("what the module itself refuses: %s", got)
		}
		public := func() bool {
			return of[*moduleapi.RoomIsInPublicRoomListResponse](t)(api.RoomIsInPublicRoomList(ctx, &moduleapi.RoomIsInPublicRoomListRequest{RoomId: string(room)})).GetIsPublic()
		}
		of[*moduleapi.AddRoomToPublicRoomListResponse](t)(api.AddRoomToPublicRoomList(ctx, &moduleapi.AddRoomToPublicRoomListRequest{RoomId: string(room)}))
		added := public()
		of[*moduleapi.RemoveRoomFromPublicRoomListResponse](t)(api.RemoveRoomFromPublicRoomList(ctx, &moduleapi.RemoveRoomFromPublicRoomListRequest{RoomId: string(room)}))
		if !added || public() {
			t.Errorf("in the list after adding: %v, after removing: %v", added, public())
		}
	})
	t.Run("account data", func(t *testing.T) {
		of[*moduleapi.PutGlobalResponse](t)(api.PutGlobal(ctx, &moduleapi.PutGlobalRequest{UserId: alice.id, DataType: "org.example.a", NewData: []byte(`{"b":1}`)}))
		var has fields
		if err := alice.GetAccountData(ctx, "org.example.a", &has); err != nil || has["b"] != 1.0 {
			t.Errorf("alice has %v, %v", has, err)
		}
		got := of[*moduleapi.GetGlobalResponse](t)(api.GetGlobal(ctx, &moduleapi.GetGlobalRequest{UserId: alice.id, DataType: "org.example.a"}))
		if string(got.GetData()) != `{"b":1}` {
			t.Errorf("%s", got.GetData())
		}
	})
	t.Run("what Dendrite does not have", func(t *testing.T) {
		_, err := api.SetDisplayname(ctx, &moduleapi.SetDisplaynameRequest{UserId: alice.id, NewDisplayname: "A"})
		if got := errcode(t, err); got != "M_UNRECOGNIZED" {
			t.Errorf("%s", got)
		}
	})
}
