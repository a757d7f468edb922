package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/matrix-org/dendrite/clientapi/auth"
	"github.com/matrix-org/dendrite/internal"
	"github.com/matrix-org/dendrite/internal/eventutil"
	"github.com/matrix-org/dendrite/roomserver/api"
	"github.com/matrix-org/dendrite/roomserver/types"
	"github.com/matrix-org/dendrite/setup/config"
	userapi "github.com/matrix-org/dendrite/userapi/api"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/matrix-org/util"
	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// moduleAPI is what this Dendrite does for modules. Methods that it does not have say so, rather than do half of something.
type moduleAPI struct {
	bus.UnimplementedModuleAPI

	cfg   *config.Dendrite
	rooms *rooms
	users *users
}

func invalid(text string) error {
	return &bus.MatrixError{Status: http.StatusBadRequest, Errcode: "M_INVALID_PARAM", Text: text}
}

func unknown(text string) error {
	return &bus.MatrixError{Status: http.StatusNotFound, Errcode: "M_NOT_FOUND", Text: text}
}

// seen is an error as the module sees it: an objection of modules is one that it can read.
func seen(err error) error {
	if o, ok := errors.AsType[*objection](err); ok {
		return o.matrix()
	}
	return err
}

// Properties implements [bus.ModuleAPI].
func (m *moduleAPI) Properties(context.Context, *moduleapiv1.PropertiesRequest) (*moduleapiv1.PropertiesResponse, error) {
	version := "Dendrite " + internal.VersionString()
	p := &moduleapiv1.PropertiesResponse{ServerName: string(m.cfg.Global.ServerName), Version: &version}
	if url := m.cfg.Global.WellKnownClientName; url != "" {
		p.PublicBaseurl = &url
	}
	return p, nil
}

// account returns a local user's account; nil where there is none.
func (m *moduleAPI) account(ctx context.Context, user string) *userapi.Account {
	localpart, server, err := m.cfg.Global.SplitLocalID('@', user)
	if err != nil {
		return nil
	}
	var known userapi.QueryAccountByLocalpartResponse
	err = m.users.QueryAccountByLocalpart(ctx, &userapi.QueryAccountByLocalpartRequest{Localpart: localpart, ServerName: server}, &known)
	if err != nil { // Dendrite says it of nobody with an error.
		return nil
	}
	return known.Account
}

// CheckUserExists implements [bus.ModuleAPI].
func (m *moduleAPI) CheckUserExists(
	ctx context.Context, r *moduleapiv1.CheckUserExistsRequest,
) (*moduleapiv1.CheckUserExistsResponse, error) {
	if a := m.account(ctx, r.GetUserId()); a != nil {
		return &moduleapiv1.CheckUserExistsResponse{UserId: &a.UserID}, nil
	}
	return &moduleapiv1.CheckUserExistsResponse{}, nil
}

// IsUserAdmin implements [bus.ModuleAPI].
func (m *moduleAPI) IsUserAdmin(ctx context.Context, r *moduleapiv1.IsUserAdminRequest) (*moduleapiv1.IsUserAdminResponse, error) {
	a := m.account(ctx, r.GetUserId())
	return &moduleapiv1.IsUserAdminResponse{IsAdmin: a != nil && a.AccountType == userapi.AccountTypeAdmin}, nil
}

// GetProfileForUser implements [bus.ModuleAPI].
func (m *moduleAPI) GetProfileForUser(
	ctx context.Context, r *moduleapiv1.GetProfileForUserRequest,
) (*moduleapiv1.GetProfileForUserResponse, error) {
	user := m.users.id(r.GetLocalpart(), "")
	if m.account(ctx, user) == nil {
		return nil, unknown("there is no such user")
	}
	p, err := m.users.QueryProfile(ctx, user)
	if err != nil {
		return nil, err
	}
	info := &callbacksv1.ProfileInfo{}
	if p.DisplayName != "" {
		info.DisplayName = &p.DisplayName
	}
	if p.AvatarURL != "" {
		info.AvatarUrl = &p.AvatarURL
	}
	return &moduleapiv1.GetProfileForUserResponse{Profile: info}, nil
}

// GetUserByReq implements [bus.ModuleAPI].
func (m *moduleAPI) GetUserByReq(ctx context.Context, r *moduleapiv1.GetUserByReqRequest) (*moduleapiv1.GetUserByReqResponse, error) {
	query := m.users.QueryAccessToken // It asks whether the user has expired.
	if r.GetAllowExpired() {
		query = m.users.UserInternalAPI.QueryAccessToken
	}
	var known userapi.QueryAccessTokenResponse
	if err := query(ctx, &userapi.QueryAccessTokenRequest{AccessToken: r.GetAccessToken()}, &known); err != nil {
		return nil, seen(err)
	}
	if known.Device == nil {
		return nil, &bus.MatrixError{Status: http.StatusUnauthorized, Errcode: "M_UNKNOWN_TOKEN", Text: "Unknown token"}
	}
	if known.Device.AccountType == userapi.AccountTypeGuest && !r.GetAllowGuest() {
		return nil, &bus.MatrixError{Status: http.StatusForbidden, Errcode: "M_GUEST_ACCESS_FORBIDDEN", Text: "Guest access not allowed"}
	}
	return &moduleapiv1.GetUserByReqResponse{Requester: requester(known.Device, known.Device.UserID)}, nil
}

// RegisterUser implements [bus.ModuleAPI]. Modules are asked about it as about any other registration.
func (m *moduleAPI) RegisterUser(ctx context.Context, r *moduleapiv1.RegisterUserRequest) (*moduleapiv1.RegisterUserResponse, error) {
	if len(r.GetEmails()) > 0 {
		return nil, invalid("emails: this homeserver cannot set them")
	}
	if err := internal.ValidateUsername(r.GetLocalpart(), m.cfg.Global.ServerName); err != nil {
		return nil, &bus.MatrixError{Status: http.StatusBadRequest, Errcode: "M_INVALID_USERNAME", Text: err.Error()}
	}
	kind := userapi.AccountTypeUser
	if r.GetAdmin() {
		kind = userapi.AccountTypeAdmin
	}
	var made userapi.PerformAccountCreationResponse
	err := m.users.PerformAccountCreation(ctx, &userapi.PerformAccountCreationRequest{
		AccountType: kind, Localpart: r.GetLocalpart(), ServerName: m.cfg.Global.ServerName, OnConflict: userapi.ConflictAbort,
	}, &made)
	if _, ok := errors.AsType[*userapi.ErrorConflict](err); ok {
		return nil, &bus.MatrixError{Status: http.StatusBadRequest, Errcode: "M_USER_IN_USE", Text: "User ID already taken"}
	}
	if err != nil {
		return nil, seen(err)
	}
	if name := r.GetDisplayname(); name != "" {
		if _, _, err := m.users.SetDisplayName(ctx, r.GetLocalpart(), m.cfg.Global.ServerName, name); err != nil {
			return nil, err
		}
	}
	return &moduleapiv1.RegisterUserResponse{UserId: made.Account.UserID}, nil
}

// RegisterDevice implements [bus.ModuleAPI].
func (m *moduleAPI) RegisterDevice(
	ctx context.Context, r *moduleapiv1.RegisterDeviceRequest,
) (*moduleapiv1.RegisterDeviceResponse, error) {
	a := m.account(ctx, r.GetUserId())
	if a == nil {
		return nil, unknown("there is no such user")
	}
	token, err := auth.GenerateAccessToken()
	if err != nil {
		return nil, err
	}
	var made userapi.PerformDeviceCreationResponse
	err = m.users.UserInternalAPI.PerformDeviceCreation(ctx, &userapi.PerformDeviceCreationRequest{ // No login: nobody is asked.
		Localpart: a.Localpart, ServerName: a.ServerName, AccessToken: token,
		DeviceID: r.DeviceId, DeviceDisplayName: r.InitialDisplayName,
	}, &made)
	if err != nil {
		return nil, err
	}
	return &moduleapiv1.RegisterDeviceResponse{DeviceId: made.Device.ID, AccessToken: made.Device.AccessToken}, nil
}

// CreateLoginToken implements [bus.ModuleAPI]. How long the token is good for is Dendrite's to say.
func (m *moduleAPI) CreateLoginToken(
	ctx context.Context, r *moduleapiv1.CreateLoginTokenRequest,
) (*moduleapiv1.CreateLoginTokenResponse, error) {
	if m.account(ctx, r.GetUserId()) == nil {
		return nil, unknown("there is no such user")
	}
	var made userapi.PerformLoginTokenCreationResponse
	req := userapi.PerformLoginTokenCreationRequest{Data: userapi.LoginTokenData{UserID: r.GetUserId()}}
	if err := m.users.PerformLoginTokenCreation(ctx, &req, &made); err != nil {
		return nil, err
	}
	return &moduleapiv1.CreateLoginTokenResponse{Token: made.Metadata.Token}, nil
}

// GetRoomState implements [bus.ModuleAPI].
func (m *moduleAPI) GetRoomState(ctx context.Context, r *moduleapiv1.GetRoomStateRequest) (*moduleapiv1.GetRoomStateResponse, error) {
	state, err := m.rooms.stateOf(r.GetRoomId())(ctx, filter(r.GetEventFilter(), len(r.GetEventFilter()) == 0))
	return &moduleapiv1.GetRoomStateResponse{State: state}, err
}

// GetStateEventsInRoom implements [bus.ModuleAPI].
func (m *moduleAPI) GetStateEventsInRoom(
	ctx context.Context, r *moduleapiv1.GetStateEventsInRoomRequest,
) (*moduleapiv1.GetStateEventsInRoomResponse, error) {
	state, err := m.rooms.stateOf(r.GetRoomId())(ctx, filter(r.GetTypes(), false))
	return &moduleapiv1.GetStateEventsInRoomResponse{State: state}, err
}

func filter(of []*moduleapiv1.StateEventType, all bool) *rosterv1.StateFilter {
	f := &rosterv1.StateFilter{All: all}
	for _, t := range of {
		f.Keys = append(f.Keys, &rosterv1.StateKey{Type: t.GetType(), StateKey: t.StateKey})
	}
	return f
}

// CreateAndSendEventIntoRoom implements [bus.ModuleAPI]. Modules are asked about the event like about any other.
func (m *moduleAPI) CreateAndSendEventIntoRoom(
	ctx context.Context, r *moduleapiv1.CreateAndSendEventIntoRoomRequest,
) (*moduleapiv1.CreateAndSendEventIntoRoomResponse, error) {
	var wanted struct {
		Type     string          `json:"type"`
		RoomID   string          `json:"room_id"`
		Sender   string          `json:"sender"`
		StateKey *string         `json:"state_key"`
		Redacts  string          `json:"redacts"`
		Content  json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(r.GetEventDict(), &wanted); err != nil {
		return nil, invalid("event_dict: must be an object with type, room_id, sender and content")
	}
	e, err := m.send(ctx, wanted.Sender, &gomatrixserverlib.ProtoEvent{
		RoomID: wanted.RoomID, Type: wanted.Type, StateKey: wanted.StateKey, Redacts: wanted.Redacts, Content: spec.RawJSON(wanted.Content),
	})
	if err != nil {
		return nil, seen(err)
	}
	return &moduleapiv1.CreateAndSendEventIntoRoomResponse{Event: event(e)}, nil
}

// send builds an event of a local user, and sends it.
func (m *moduleAPI) send(ctx context.Context, sender string, proto *gomatrixserverlib.ProtoEvent) (*types.HeaderedEvent, error) {
	if m.account(ctx, sender) == nil {
		return nil, invalid("sender: must be a user of this server")
	}
	user, err := spec.NewUserID(sender, true)
	if err != nil {
		return nil, invalid("sender: " + err.Error())
	}
	room, err := spec.NewRoomID(proto.RoomID)
	if err != nil {
		return nil, invalid("room_id: " + err.Error())
	}
	id, err := m.rooms.QuerySenderIDForUser(ctx, *room, *user)
	if err != nil || id == nil {
		return nil, &bus.MatrixError{Status: http.StatusForbidden, Errcode: "M_FORBIDDEN", Text: "the sender is not in the room"}
	}
	proto.SenderID = string(*id)
	identity, err := m.rooms.SigningIdentityFor(ctx, *room, *user)
	if err != nil {
		return nil, err
	}
	e, err := eventutil.QueryAndBuildEvent(ctx, proto, &identity, time.Now(), m.rooms, nil)
	if err != nil {
		return nil, err
	}
	sent := sending{}
	err = api.SendEvents(context.WithValue(ctx, sendingKey{}, &sent), m.rooms, api.KindNew, []*types.HeaderedEvent{e},
		user.Domain(), user.Domain(), user.Domain(), nil, false)
	if sent.objection != nil {
		return nil, sent.objection
	}
	if sent.event != nil {
		e = sent.event
	}
	return e, err
}

// UpdateRoomMembership implements [bus.ModuleAPI].
func (m *moduleAPI) UpdateRoomMembership(
	ctx context.Context, r *moduleapiv1.UpdateRoomMembershipRequest,
) (*moduleapiv1.UpdateRoomMembershipResponse, error) {
	if r.GetSender() == r.GetTarget() && r.GetNewMembership() == spec.Join {
		return m.join(ctx, r)
	}
	content := map[string]any{}
	if len(r.GetContent()) > 0 && json.Unmarshal(r.GetContent(), &content) != nil {
		return nil, invalid("content: must be an object")
	}
	content["membership"] = r.GetNewMembership()
	data, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	e, err := m.send(ctx, r.GetSender(), &gomatrixserverlib.ProtoEvent{
		RoomID: r.GetRoomId(), Type: spec.MRoomMember, StateKey: &r.Target, Content: data,
	})
	if err != nil {
		return nil, seen(err)
	}
	return &moduleapiv1.UpdateRoomMembershipResponse{Event: event(e)}, nil
}

func (m *moduleAPI) join(ctx context.Context, r *moduleapiv1.UpdateRoomMembershipRequest) (*moduleapiv1.UpdateRoomMembershipResponse, error) {
	req := api.PerformJoinRequest{RoomIDOrAlias: r.GetRoomId(), UserID: r.GetTarget(), Content: map[string]any{}}
	if len(r.GetContent()) > 0 && json.Unmarshal(r.GetContent(), &req.Content) != nil {
		return nil, invalid("content: must be an object")
	}
	for _, host := range r.GetRemoteRoomHosts() {
		req.ServerNames = append(req.ServerNames, spec.ServerName(host))
	}
	room, _, err := m.rooms.PerformJoin(ctx, &req)
	if err != nil {
		return nil, seen(err)
	}
	state, err := m.rooms.stateOf(room)(ctx, &rosterv1.StateFilter{Keys: []*rosterv1.StateKey{{Type: spec.MRoomMember, StateKey: &r.Target}}})
	if err != nil || len(state) == 0 {
		return nil, errors.Join(err, errors.New("the room has no membership of who has joined"))
	}
	return &moduleapiv1.UpdateRoomMembershipResponse{Event: state[0].GetEvent()}, nil
}

// CreateRoom implements [bus.ModuleAPI]. Modules are asked about it as about any other room.
func (m *moduleAPI) CreateRoom(ctx context.Context, r *moduleapiv1.CreateRoomRequest) (*moduleapiv1.CreateRoomResponse, error) {
	if m.account(ctx, r.GetUserId()) == nil {
		return nil, invalid("user_id: must be a user of this server")
	}
	user, err := spec.NewUserID(r.GetUserId(), true)
	if err != nil {
		return nil, invalid("user_id: " + err.Error())
	}
	room, err := spec.NewRoomID("!" + util.RandomString(16) + ":" + string(user.Domain()))
	if err != nil {
		return nil, err
	}
	var c roomConfig
	if err := json.Unmarshal(r.GetConfig(), &c); err != nil {
		return nil, invalid("config: must be the body of a createRoom request")
	}
	if c.RoomVersion == "" {
		c.RoomVersion = m.rooms.DefaultRoomVersion()
	}
	req := api.PerformCreateRoomRequest{KeyID: m.cfg.Global.KeyID, PrivateKey: m.cfg.Global.PrivateKey, EventTime: time.Now()}
	c.applyTo(&req)
	alias, refused := m.rooms.PerformCreateRoom(ctx, *user, *room, &req)
	if refused != nil {
		return nil, matrixError(refused)
	}
	made := &moduleapiv1.CreateRoomResponse{RoomId: room.String()}
	if alias != "" {
		made.RoomAlias = &alias
	}
	return made, nil
}

// LookupRoomAlias implements [bus.ModuleAPI].
func (m *moduleAPI) LookupRoomAlias(
	ctx context.Context, r *moduleapiv1.LookupRoomAliasRequest,
) (*moduleapiv1.LookupRoomAliasResponse, error) {
	req := api.PerformJoinRequest{RoomIDOrAlias: r.GetRoomAlias()}
	if err := m.rooms.resolve(ctx, &req); err != nil {
		return nil, unknown("the alias cannot be looked up")
	}
	if req.RoomIDOrAlias == r.GetRoomAlias() {
		return nil, unknown("there is no such alias")
	}
	found := &moduleapiv1.LookupRoomAliasResponse{RoomId: req.RoomIDOrAlias, Servers: []string{string(m.cfg.Global.ServerName)}}
	if len(req.ServerNames) > 0 {
		found.Servers = nil
	}
	for _, name := range req.ServerNames {
		found.Servers = append(found.Servers, string(name))
	}
	return found, nil
}

// RoomIsInPublicRoomList implements [bus.ModuleAPI].
func (m *moduleAPI) RoomIsInPublicRoomList(
	ctx context.Context, r *moduleapiv1.RoomIsInPublicRoomListRequest,
) (*moduleapiv1.RoomIsInPublicRoomListResponse, error) {
	var known api.QueryPublishedRoomsResponse
	err := m.rooms.QueryPublishedRooms(ctx, &api.QueryPublishedRoomsRequest{RoomID: r.GetRoomId()}, &known)
	return &moduleapiv1.RoomIsInPublicRoomListResponse{IsPublic: len(known.RoomIDs) > 0}, err
}

// AddRoomToPublicRoomList implements [bus.ModuleAPI].
func (m *moduleAPI) AddRoomToPublicRoomList(
	ctx context.Context, r *moduleapiv1.AddRoomToPublicRoomListRequest,
) (*moduleapiv1.AddRoomToPublicRoomListResponse, error) {
	return &moduleapiv1.AddRoomToPublicRoomListResponse{}, m.publish(ctx, r.GetRoomId(), spec.Public)
}

// RemoveRoomFromPublicRoomList implements [bus.ModuleAPI].
func (m *moduleAPI) RemoveRoomFromPublicRoomList(
	ctx context.Context, r *moduleapiv1.RemoveRoomFromPublicRoomListRequest,
) (*moduleapiv1.RemoveRoomFromPublicRoomListResponse, error) {
	return &moduleapiv1.RemoveRoomFromPublicRoomListResponse{}, m.publish(ctx, r.GetRoomId(), "private")
}

// publish goes past the decorator: no module is asked about what a module does to the directory.
func (m *moduleAPI) publish(ctx context.Context, room, visibility string) error {
	return m.rooms.RoomserverInternalAPI.PerformPublish(ctx, &api.PerformPublishRequest{RoomID: room, Visibility: visibility})
}

// GetGlobal implements [bus.ModuleAPI].
func (m *moduleAPI) GetGlobal(ctx context.Context, r *moduleapiv1.GetGlobalRequest) (*moduleapiv1.GetGlobalResponse, error) {
	var known userapi.QueryAccountDataResponse
	err := m.users.QueryAccountData(ctx, &userapi.QueryAccountDataRequest{UserID: r.GetUserId(), DataType: r.GetDataType()}, &known)
	return &moduleapiv1.GetGlobalResponse{Data: known.GlobalAccountData[r.GetDataType()]}, err
}

// PutGlobal implements [bus.ModuleAPI].
func (m *moduleAPI) PutGlobal(ctx context.Context, r *moduleapiv1.PutGlobalRequest) (*moduleapiv1.PutGlobalResponse, error) {
	if m.account(ctx, r.GetUserId()) == nil {
		return nil, invalid("user_id: must be a user of this server")
	}
	return &moduleapiv1.PutGlobalResponse{}, m.users.InputAccountData(ctx, &userapi.InputAccountDataRequest{
		UserID: r.GetUserId(), DataType: r.GetDataType(), AccountData: r.GetNewData(),
	}, &userapi.InputAccountDataResponse{})
}
