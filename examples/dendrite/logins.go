package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/matrix-org/dendrite/clientapi/auth"
	"github.com/matrix-org/dendrite/clientapi/auth/authtypes"
	"github.com/matrix-org/dendrite/internal/httputil"
	"github.com/matrix-org/dendrite/userapi/api"
	"github.com/matrix-org/util"
	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// logins stands before Dendrite's client API, for the login types that are modules': Dendrite knows its own alone.
type logins struct {
	users   *users
	modules *bus.Client
	limits  *httputil.RateLimits
	next    http.Handler
}

// loginSize is how many bytes of a login's body are read. A longer one is cut off, and Dendrite says that it is no JSON.
const loginSize = 64 << 10

// ServeHTTP implements [http.Handler].
func (l *logins) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	types := ofModules(l.modules.Roster())
	switch {
	case !strings.HasSuffix(r.URL.Path, "/login") || len(types) == 0:
		l.next.ServeHTTP(w, r)
	case r.Method == http.MethodGet:
		l.flows(w, r, types)
	case r.Method == http.MethodPost:
		l.post(w, r, types)
	default:
		l.next.ServeHTTP(w, r)
	}
}

// ofModules are the login types that modules have registered for, and that Dendrite has not.
func ofModules(roster *rosterv1.Roster) map[string]bool {
	types := map[string]bool{}
	for _, m := range roster.GetModules() {
		for _, c := range m.GetCallbacks() {
			if c.GetCallback() != subjects.AuthCheckers.FullName() {
				continue
			}
			for _, k := range c.GetNeeds().GetKeys() {
				types[k.GetValue()] = true
			}
		}
	}
	delete(types, authtypes.LoginTypePassword) // Asked about in QueryAccountByPassword.
	delete(types, authtypes.LoginTypeToken)
	delete(types, authtypes.LoginTypeApplicationService)
	return types
}

// recorded is a response that is not sent yet.
type recorded struct {
	http.ResponseWriter

	status int
	body   bytes.Buffer
}

func (r *recorded) WriteHeader(status int)      { r.status = status }
func (r *recorded) Write(p []byte) (int, error) { return r.body.Write(p) }

// flows adds the modules' login types to Dendrite's.
func (l *logins) flows(w http.ResponseWriter, r *http.Request, types map[string]bool) {
	of := recorded{ResponseWriter: w, status: http.StatusOK}
	l.next.ServeHTTP(&of, r)
	var known struct {
		Flows []map[string]any `json:"flows"`
	}
	body := of.body.Bytes()
	if of.status == http.StatusOK && json.Unmarshal(body, &known) == nil {
		for name := range types {
			known.Flows = append(known.Flows, map[string]any{"type": name})
		}
		body, _ = json.Marshal(known) // It came out of a decoder.
	}
	w.WriteHeader(of.status)
	_, _ = w.Write(body)
}

// post logs in by a modules' login type; others are Dendrite's.
func (l *logins) post(w http.ResponseWriter, r *http.Request, types map[string]bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, loginSize))
	var request loginRequest
	if err != nil || json.Unmarshal(body, &request) != nil || !types[request.Type] {
		r.Body = io.NopCloser(bytes.NewReader(body))
		l.next.ServeHTTP(w, r)
		return
	}
	handler := util.MakeJSONAPI(util.NewJSONRequestHandler(func(r *http.Request) util.JSONResponse {
		if limited := l.limits.Limit(r, nil); limited != nil {
			return *limited
		}
		return l.login(r, request, body)
	}))
	httputil.WrapHandlerInCORS(handler).ServeHTTP(w, r)
}

// loginRequest is the part of a login's body that does not depend on its type.
type loginRequest struct {
	Type       string `json:"type"`
	User       string `json:"user"`
	Identifier struct {
		User string `json:"user"`
	} `json:"identifier"`
	DeviceID          *string `json:"device_id"`
	DeviceDisplayName *string `json:"initial_device_display_name"`
}

func (l *logins) login(r *http.Request, request loginRequest, body []byte) util.JSONResponse {
	user := request.Identifier.User
	if user == "" {
		user = request.User
	}
	account, o := l.users.authenticate(r.Context(), user, request.Type, body)
	if o != nil {
		return *o.response()
	}
	if account == nil {
		return response(matrix.Error{Status: http.StatusForbidden, Errcode: matrix.Forbidden, Text: "Invalid login"})
	}
	token, err := auth.GenerateAccessToken()
	if err != nil {
		return response(matrix.Error{Text: "Internal server error"})
	}
	var made api.PerformDeviceCreationResponse
	err = l.users.PerformDeviceCreation(r.Context(), &api.PerformDeviceCreationRequest{
		Localpart: account.Localpart, ServerName: account.ServerName, AccessToken: token, IPAddr: r.RemoteAddr, UserAgent: r.UserAgent(),
		DeviceID: request.DeviceID, DeviceDisplayName: request.DeviceDisplayName,
	}, &made)
	if err != nil {
		return response(matrix.Error{Text: "Internal server error"})
	}
	return util.JSONResponse{Code: http.StatusOK, JSON: map[string]string{
		"user_id": made.Device.UserID, "access_token": made.Device.AccessToken, "device_id": made.Device.ID,
	}}
}

func response(e matrix.Error) util.JSONResponse {
	e = e.Complete()
	return util.JSONResponse{Code: e.Status, JSON: json.RawMessage(e.Body())}
}
