package main

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/matrix-org/dendrite/clientapi/auth/authtypes"
	"github.com/matrix-org/dendrite/userapi/api"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// users is Dendrite's user API, which asks before it makes accounts and devices, and about whose token it is.
type users struct {
	api.UserInternalAPI

	modules *bus.Client
	server  spec.ServerName
}

// login is what modules have said in the request that ctx belongs to about who logs in.
type login struct {
	asked  bool
	told   bool   // A module wants to hear how it ends.
	module string // which
	answer *callbacksv1.AuthCheckersResponse
}

// expired is Synapse's answer to the user of an account that has expired.
var expired = matrix.Error{Errcode: "ORG_MATRIX_EXPIRED_ACCOUNT", Text: "User account has expired"}

// QueryAccessToken implements [api.UserInternalAPI]: nearly each request of a client comes this way.
func (u *users) QueryAccessToken(ctx context.Context, req *api.QueryAccessTokenRequest, res *api.QueryAccessTokenResponse) error {
	if err := u.UserInternalAPI.QueryAccessToken(ctx, req, res); err != nil || res.Device == nil {
		return err
	}
	x := exchangeOf(ctx)
	x.made(res.Device)
	if res.Device.AccountType == api.AccountTypeAppService || x.leaves() {
		return nil
	}
	d, err := u.modules.AccountValidity.IsUserExpired(ctx, &callbacksv1.IsUserExpiredRequest{User: res.Device.UserID})
	if err != nil {
		return failed(ctx, err)
	}
	if d.Answer.GetExpired() {
		return object(ctx, http.StatusForbidden, expired.Body())
	}
	return nil
}

// PerformAccountCreation implements [api.UserInternalAPI].
func (u *users) PerformAccountCreation(
	ctx context.Context, req *api.PerformAccountCreationRequest, res *api.PerformAccountCreationResponse,
) error {
	if req.AccountType != api.AccountTypeAppService {
		if o := u.mayRegister(ctx, req.Localpart); o != nil {
			return o
		}
	}
	if err := u.UserInternalAPI.PerformAccountCreation(ctx, req, res); err != nil || !res.AccountCreated {
		return err
	}
	_, err := u.modules.AccountValidity.OnUserRegistration(ctx, &callbacksv1.OnUserRegistrationRequest{User: res.Account.UserID})
	if err != nil {
		return failed(ctx, err)
	}
	return nil
}

// mayRegister asks about a registration. Dendrite has no users whom nobody hears, so it refuses who shall be one.
func (u *users) mayRegister(ctx context.Context, localpart string) *objection {
	req := &callbacksv1.CheckRegistrationForSpamRequest{RequestInfo: exchangeOf(ctx).requestInfo()}
	if localpart != "" {
		req.Username = &localpart
	}
	d, err := u.modules.SpamChecker.CheckRegistrationForSpam(ctx, req)
	if err != nil {
		return failed(ctx, err)
	}
	if d.Answer.GetRefusal() == nil && !d.Answer.GetShadowBan() {
		return nil
	}
	e := matrix.Error{Status: http.StatusTooManyRequests, Text: "Rate limited"} // As Synapse has it, whatever modules say.
	return object(ctx, e.Status, e.Body())
}

// PerformDeviceCreation implements [api.UserInternalAPI]: a user who has proved who they are is logged in.
func (u *users) PerformDeviceCreation(
	ctx context.Context, req *api.PerformDeviceCreationRequest, res *api.PerformDeviceCreationResponse,
) error {
	if req.FromRegistration {
		return u.UserInternalAPI.PerformDeviceCreation(ctx, req, res)
	}
	user := u.id(req.Localpart, req.ServerName)
	d, err := u.modules.SpamChecker.CheckLoginForSpam(ctx, &callbacksv1.CheckLoginForSpamRequest{
		UserId: user, DeviceId: req.DeviceID, InitialDisplayName: req.DeviceDisplayName, RequestInfo: exchangeOf(ctx).requestInfo(),
	})
	if o := objected(ctx, d, err); o != nil {
		return o
	}
	if err := u.UserInternalAPI.PerformDeviceCreation(ctx, req, res); err != nil {
		return err
	}
	return u.loggedIn(ctx, res.Device)
}

// loggedIn tells modules of a login. Where that fails the client's request does, although the device is there.
func (u *users) loggedIn(ctx context.Context, device *api.Device) error {
	if x := exchangeOf(ctx); x != nil && x.login.told {
		_, err := u.modules.PasswordAuthProvider.OnAuthCheckersLogin(ctx, &callbacksv1.OnAuthCheckersLoginRequest{
			Module: x.login.module, Worker: x.login.answer.GetWorker(), Token: x.login.answer.GetToken(),
			Response: &callbacksv1.LoginResponse{
				UserId: device.UserID, AccessToken: &device.AccessToken, HomeServer: string(u.server), DeviceId: &device.ID,
			},
		})
		if err != nil {
			return failed(ctx, err)
		}
	}
	if _, err := u.modules.AccountValidity.OnUserLogin(ctx, &callbacksv1.OnUserLoginRequest{UserId: device.UserID}); err != nil {
		return failed(ctx, err)
	}
	return nil
}

// QueryAccountByPassword implements [api.UserInternalAPI]. Dendrite calls it twice when it finds nobody; modules are asked once.
func (u *users) QueryAccountByPassword(
	ctx context.Context, req *api.QueryAccountByPasswordRequest, res *api.QueryAccountByPasswordResponse,
) error {
	x := exchangeOf(ctx)
	if x == nil || x.login.asked {
		return u.UserInternalAPI.QueryAccountByPassword(ctx, req, res)
	}
	secret, err := json.Marshal(map[string]string{"password": req.PlaintextPassword})
	if err != nil {
		return err
	}
	account, o := u.authenticate(ctx, req.Localpart, authtypes.LoginTypePassword, secret)
	switch {
	case o != nil:
		return o
	case account != nil:
		res.Account, res.Exists = account, true
		return nil
	}
	return u.UserInternalAPI.QueryAccountByPassword(ctx, req, res)
}

// authenticate asks modules who somebody is, and returns the account; nil where none of them knows.
func (u *users) authenticate(ctx context.Context, user, loginType string, fields []byte) (*api.Account, *objection) {
	d, err := u.modules.PasswordAuthProvider.AuthCheckers(ctx, &callbacksv1.AuthCheckersRequest{
		User: user, LoginType: loginType, LoginDict: fields,
	})
	if err != nil {
		return nil, failed(ctx, err)
	}
	if x := exchangeOf(ctx); x != nil {
		x.login = login{asked: true, told: d.Answer.GetTellLogin(), module: d.DecidedBy, answer: d.Answer}
	}
	localpart, server, err := gomatrixserverlib.SplitID('@', d.Answer.GetUserId())
	if err != nil || server != u.server {
		return nil, nil //nolint:nilerr // No module has said who it is, or it is nobody of ours.
	}
	var known api.QueryAccountByLocalpartResponse
	err = u.QueryAccountByLocalpart(ctx, &api.QueryAccountByLocalpartRequest{Localpart: localpart, ServerName: server}, &known)
	if err != nil || known.Account == nil {
		return nil, nil //nolint:nilerr // Dendrite says with an error that there is no such user.
	}
	return known.Account, nil
}

// id is the ID of one of this server's users.
func (u *users) id(localpart string, server spec.ServerName) string {
	if server == "" {
		server = u.server
	}
	return "@" + localpart + ":" + string(server)
}

// PerformAccountDeactivation implements [api.UserInternalAPI].
func (u *users) PerformAccountDeactivation(
	ctx context.Context, req *api.PerformAccountDeactivationRequest, res *api.PerformAccountDeactivationResponse,
) error {
	user := u.id(req.Localpart, req.ServerName)
	admin := exchangeOf(ctx).by().UserID != user
	d, err := u.modules.ThirdPartyRules.CheckCanDeactivateUser(ctx, &callbacksv1.CheckCanDeactivateUserRequest{UserId: user, ByAdmin: admin})
	if o := objected(ctx, d, err); o != nil {
		return o
	}
	if err := u.UserInternalAPI.PerformAccountDeactivation(ctx, req, res); err != nil || !res.AccountDeactivated {
		return err
	}
	_, err = u.modules.ThirdPartyRules.OnUserDeactivationStatusChanged(ctx, &callbacksv1.OnUserDeactivationStatusChangedRequest{
		UserId: user, Deactivated: true, ByAdmin: admin,
	})
	if err != nil {
		return failed(ctx, err)
	}
	return nil
}
