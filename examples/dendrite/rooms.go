package main

import (
	"context"
	"encoding/json"
	"strings"

	federation "github.com/matrix-org/dendrite/federationapi/api"
	"github.com/matrix-org/dendrite/roomserver/api"
	userapi "github.com/matrix-org/dendrite/userapi/api"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/matrix-org/util"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// rooms is Dendrite's room server, which asks before it does what users and other servers want.
type rooms struct {
	api.RoomserverInternalAPI

	modules    *bus.Client
	local      func(spec.ServerName) bool
	federation federation.RoomserverFederationAPI
}

// SetFederationAPI implements [api.RoomserverInternalAPI].
func (r *rooms) SetFederationAPI(f federation.RoomserverFederationAPI, keys *gomatrixserverlib.KeyRing) {
	r.federation = f
	r.RoomserverInternalAPI.SetFederationAPI(fetched{f, r}, keys)
}

// roomConfig is the body of a client's createRoom request, as far as Dendrite knows it.
type roomConfig struct {
	Invite                    []string                           `json:"invite,omitempty"`
	Name                      string                             `json:"name,omitempty"`
	Visibility                string                             `json:"visibility,omitempty"`
	Topic                     string                             `json:"topic,omitempty"`
	Preset                    string                             `json:"preset,omitempty"`
	CreationContent           json.RawMessage                    `json:"creation_content,omitempty"`
	InitialState              []gomatrixserverlib.FledglingEvent `json:"initial_state,omitempty"`
	RoomAliasName             string                             `json:"room_alias_name,omitempty"`
	RoomVersion               gomatrixserverlib.RoomVersion      `json:"room_version,omitempty"`
	PowerLevelContentOverride json.RawMessage                    `json:"power_level_content_override,omitempty"`
	IsDirect                  bool                               `json:"is_direct,omitempty"`
}

func configOf(r *api.PerformCreateRoomRequest) roomConfig {
	return roomConfig{
		r.InvitedUsers, r.RoomName, r.Visibility, r.Topic, r.StatePreset, r.CreationContent, r.InitialState,
		r.RoomAliasName, r.RoomVersion, r.PowerLevelContentOverride, r.IsDirect,
	}
}

func (c roomConfig) applyTo(r *api.PerformCreateRoomRequest) {
	r.InvitedUsers, r.RoomName, r.Visibility, r.Topic = c.Invite, c.Name, c.Visibility, c.Topic
	r.StatePreset, r.CreationContent, r.InitialState, r.RoomAliasName = c.Preset, c.CreationContent, c.InitialState, c.RoomAliasName
	r.RoomVersion, r.PowerLevelContentOverride, r.IsDirect = c.RoomVersion, c.PowerLevelContentOverride, c.IsDirect
}

// PerformCreateRoom implements [api.RoomserverInternalAPI]. The room server invites, names and publishes a new room by
// itself, past this decorator: all of that is asked about before there is a room.
func (r *rooms) PerformCreateRoom(
	ctx context.Context, user spec.UserID, room spec.RoomID, req *api.PerformCreateRoomRequest,
) (string, *util.JSONResponse) {
	if o := r.mayCreate(ctx, user, room, req); o != nil {
		return "", o.response()
	}
	return r.RoomserverInternalAPI.PerformCreateRoom(ctx, user, room, req)
}

func (r *rooms) mayCreate(ctx context.Context, user spec.UserID, room spec.RoomID, req *api.PerformCreateRoomRequest) *objection {
	config, o := r.onCreateRoom(ctx, user, req)
	if o != nil {
		return o
	}
	if o := r.mayCreateRoom(ctx, user, config, exchangeOf(ctx).admin()); o != nil {
		return o
	}
	for _, invited := range req.InvitedUsers {
		if o := r.mayInvite(ctx, user.String(), invited, room.String()); o != nil {
			return o
		}
	}
	if req.RoomAliasName != "" {
		alias := "#" + req.RoomAliasName + ":" + string(user.Domain())
		if o := r.mayCreateAlias(ctx, user.String(), alias); o != nil {
			return o
		}
	}
	if req.Visibility == spec.Public {
		return r.mayPublish(ctx, user.String(), room.String(), req.Visibility, nil)
	}
	return nil
}

// onCreateRoom asks about the client's request, and applies what modules make of it.
func (r *rooms) onCreateRoom(ctx context.Context, user spec.UserID, req *api.PerformCreateRoomRequest) (config []byte, o *objection) {
	config, err := json.Marshal(configOf(req))
	if err != nil {
		return nil, failed(ctx, err)
	}
	x := exchangeOf(ctx)
	d, err := r.modules.ThirdPartyRules.OnCreateRoom(ctx, &callbacksv1.OnCreateRoomRequest{
		Requester: requester(x.by(), user.String()), RequestContent: config, IsRequesterAdmin: x.admin(),
	})
	if o := objected(ctx, d, err); o != nil {
		return nil, o
	}
	if d.Answer.GetRequestContent() == nil {
		return config, nil
	}
	var changed roomConfig
	if err := json.Unmarshal(d.Answer.GetRequestContent(), &changed); err != nil {
		return nil, failed(ctx, err)
	}
	if changed.RoomVersion == "" {
		changed.RoomVersion = req.RoomVersion
	}
	changed.applyTo(req)
	return d.Answer.GetRequestContent(), nil
}

// requester is who makes a request.
func requester(device *userapi.Device, user string) *callbacksv1.Requester {
	r := &callbacksv1.Requester{UserId: user, IsGuest: device.AccountType == userapi.AccountTypeGuest, AuthenticatedEntity: user}
	if device.ID != "" {
		r.DeviceId = &device.ID
	}
	if device.AppserviceID != "" {
		r.AppServiceId = &device.AppserviceID
	}
	return r
}

func (r *rooms) mayCreateRoom(ctx context.Context, user spec.UserID, config []byte, admin bool) *objection {
	if admin {
		return nil
	}
	d, err := r.modules.SpamChecker.UserMayCreateRoom(ctx, &callbacksv1.UserMayCreateRoomRequest{UserId: user.String(), RoomConfig: config})
	return objected(ctx, d, err)
}

// PerformRoomUpgrade implements [api.RoomserverInternalAPI]. Who upgrades a room creates one, admins too.
func (r *rooms) PerformRoomUpgrade(
	ctx context.Context, room string, user spec.UserID, version gomatrixserverlib.RoomVersion,
) (string, error) {
	config, err := json.Marshal(map[string]any{"creation_content": map[string]any{
		"room_version": version, "predecessor": map[string]any{"room_id": room},
	}})
	if err != nil {
		return "", err
	}
	if o := r.mayCreateRoom(ctx, user, config, false); o != nil {
		return "", o
	}
	return r.RoomserverInternalAPI.PerformRoomUpgrade(ctx, room, user, version)
}

// PerformJoin implements [api.RoomserverInternalAPI].
func (r *rooms) PerformJoin(ctx context.Context, req *api.PerformJoinRequest) (room string, via spec.ServerName, err error) {
	if !exchangeOf(ctx).admin() && r.modules.Wants(subjects.UserMayJoinRoom) {
		if err := r.mayJoin(ctx, req); err != nil {
			return "", "", err
		}
	}
	return r.RoomserverInternalAPI.PerformJoin(ctx, req)
}

func (r *rooms) mayJoin(ctx context.Context, req *api.PerformJoinRequest) error {
	if err := r.resolve(ctx, req); err != nil {
		return err
	}
	room, err := spec.NewRoomID(req.RoomIDOrAlias)
	if err != nil {
		return api.ErrInvalidID{Err: err}
	}
	// Dendrite says with an error that it does not know the room, or the user in it: who is not known to be invited is not.
	invited, err := r.InvitePending(ctx, *room, spec.SenderID(req.UserID))
	d, err := r.modules.SpamChecker.UserMayJoinRoom(ctx, &callbacksv1.UserMayJoinRoomRequest{
		User: req.UserID, Room: req.RoomIDOrAlias, IsInvited: invited && err == nil,
	})
	if o := objected(ctx, d, err); o != nil {
		return o
	}
	return nil
}

// resolve turns an alias into the room that it names, so that modules are asked about the room that is joined.
func (r *rooms) resolve(ctx context.Context, req *api.PerformJoinRequest) error {
	if !strings.HasPrefix(req.RoomIDOrAlias, "#") {
		return nil
	}
	_, server, err := gomatrixserverlib.SplitID('#', req.RoomIDOrAlias)
	if err != nil {
		return api.ErrInvalidID{Err: err}
	}
	if !r.local(server) {
		var found federation.PerformDirectoryLookupResponse
		lookup := federation.PerformDirectoryLookupRequest{RoomAlias: req.RoomIDOrAlias, ServerName: server}
		if err := r.federation.PerformDirectoryLookup(ctx, &lookup, &found); err != nil {
			return err
		}
		req.RoomIDOrAlias, req.ServerNames = found.RoomID, append(req.ServerNames, found.ServerNames...)
		return nil
	}
	var found api.GetRoomIDForAliasResponse
	lookup := api.GetRoomIDForAliasRequest{Alias: req.RoomIDOrAlias, IncludeAppservices: true}
	if err := r.GetRoomIDForAlias(ctx, &lookup, &found); err != nil {
		return err
	}
	if found.RoomID != "" { // Dendrite says it of an alias that names nothing.
		req.RoomIDOrAlias = found.RoomID
	}
	return nil
}

// PerformInvite implements [api.RoomserverInternalAPI].
func (r *rooms) PerformInvite(ctx context.Context, req *api.PerformInviteRequest) error {
	in := req.InviteInput
	if o := r.mayInvite(ctx, in.Inviter.String(), in.Invitee.String(), in.RoomID.String()); o != nil {
		return o
	}
	return r.RoomserverInternalAPI.PerformInvite(ctx, req)
}

func (r *rooms) mayInvite(ctx context.Context, inviter, invitee, room string) *objection {
	if exchangeOf(ctx).admin() {
		return nil
	}
	d, err := r.modules.SpamChecker.UserMayInvite(ctx, &callbacksv1.UserMayInviteRequest{Inviter: inviter, Invitee: invitee, RoomId: room})
	return objected(ctx, d, err)
}

// SetRoomAlias implements [api.RoomserverInternalAPI].
func (r *rooms) SetRoomAlias(ctx context.Context, sender spec.SenderID, room spec.RoomID, alias string) (exists bool, err error) {
	user, err := r.QueryUserIDForSender(ctx, room, sender)
	if err != nil {
		return false, err
	}
	if o := r.mayCreateAlias(ctx, user.String(), alias); o != nil {
		return false, o
	}
	return r.RoomserverInternalAPI.SetRoomAlias(ctx, sender, room, alias)
}

func (r *rooms) mayCreateAlias(ctx context.Context, user, alias string) *objection {
	d, err := r.modules.SpamChecker.UserMayCreateRoomAlias(ctx, &callbacksv1.UserMayCreateRoomAliasRequest{UserId: user, RoomAlias: alias})
	return objected(ctx, d, err)
}

// PerformPublish implements [api.RoomserverInternalAPI]. Its request does not say whose it is; the exchange does.
func (r *rooms) PerformPublish(ctx context.Context, req *api.PerformPublishRequest) error {
	if o := r.mayPublish(ctx, exchangeOf(ctx).by().UserID, req.RoomID, req.Visibility, r.stateOf(req.RoomID)); o != nil {
		return o
	}
	return r.RoomserverInternalAPI.PerformPublish(ctx, req)
}

func (r *rooms) mayPublish(ctx context.Context, user, room, visibility string, state bus.StateFunc) *objection {
	d, err := r.modules.SpamChecker.UserMayPublishRoom(ctx, &callbacksv1.UserMayPublishRoomRequest{UserId: user, RoomId: room})
	if o := objected(ctx, d, err); o != nil {
		return o
	}
	if state != nil {
		ctx = bus.WithState(ctx, state)
	}
	v, err := r.modules.ThirdPartyRules.CheckVisibilityCanBeModified(ctx, &callbacksv1.CheckVisibilityCanBeModifiedRequest{
		RoomId: room, NewVisibility: visibility,
	})
	return objected(ctx, v, err)
}

// fetch asks about an event as another server sent it, and returns it without its content where modules do not want it: other
// events are built on it, so it cannot be left out.
func (r *rooms) fetch(ctx context.Context, pdu spec.RawJSON) (spec.RawJSON, error) {
	if !r.modules.Wants(subjects.ShouldDropFederatedEvent) && !r.modules.Wants(subjects.CheckEventForSpam) {
		return pdu, nil
	}
	var head struct {
		RoomID string `json:"room_id"`
	}
	if err := json.Unmarshal(pdu, &head); err != nil {
		return nil, err
	}
	version, err := r.QueryRoomVersionForRoom(ctx, head.RoomID)
	if err != nil {
		return nil, err
	}
	known, err := gomatrixserverlib.GetRoomVersion(version)
	if err != nil {
		return nil, err
	}
	e, err := known.NewEventFromUntrustedJSON(pdu)
	if err != nil {
		return pdu, nil //nolint:nilerr // The room server says what is wrong with it.
	}
	if _, sender, err := gomatrixserverlib.SplitID('@', string(e.SenderID())); err == nil && r.local(sender) {
		return pdu, nil
	}
	unwanted, err := r.unwantedBy(aside(ctx), e)
	if err != nil || !unwanted {
		return pdu, err
	}
	e.Redact()
	return e.JSON(), nil
}
