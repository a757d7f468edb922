// Command caller is a module for tests: it calls whatever method of the Module API it is told to, in a web resource and
// inside a callback, and hands back what the homeserver answers.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path"
	"reflect"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/subjects"
)

const base = "/_synapse/client/caller"

func main() {
	modulekit.Main(modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		c := caller{api}
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{CheckEventForSpam: c.checkEvent})
		api.RegisterWebResource(base+"/call", http.HandlerFunc(c.serveCall))
		api.RegisterWebResource(base+"/whoami", http.HandlerFunc(c.serveWhoami))
		api.RegisterWebResource(base+"/sso", http.HandlerFunc(c.serveSSO))
		return nil
	}})
}

type caller struct{ api *modulekit.ModuleAPI }

// call makes a call: JSON in, JSON out.
func (c caller) call(ctx context.Context, name string, request []byte) ([]byte, error) {
	m, ok := subjects.FindMethod(name)
	if !ok {
		return nil, &modulekit.MatrixError{Status: http.StatusNotFound, Text: "the test wants a method that there is not"}
	}
	req := m.NewRequest()
	if err := wire.FromJSON(request, req, true); err != nil {
		return nil, &modulekit.MatrixError{Status: http.StatusNotFound, Text: "the test wrote a bad request: " + err.Error()}
	}
	goName := strings.TrimSuffix(string(req.ProtoReflect().Descriptor().Name()), "Request")
	out := reflect.ValueOf(c.api).MethodByName(goName).Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(req)})
	if err, _ := reflect.TypeAssert[error](out[1]); err != nil {
		return nil, err
	}
	return wire.ToJSON(out[0].Interface().(proto.Message))
}

// serveCall takes the method at the end of the path, and the request as the body.
func (c caller) serveCall(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		body, err = c.call(r.Context(), path.Base(r.URL.Path), body)
	}
	answer(w, body, err)
}

// serveWhoami says who a client is, by the access token that it shows the module.
func (c caller) serveWhoami(w http.ResponseWriter, r *http.Request) {
	out, err := c.api.GetUserByReq(r.Context(), &moduleapiv1.GetUserByReqRequest{
		AccessToken: strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "),
		Ip:          new("203.0.113.7"),
		UserAgent:   new("Browser/1"),
	})
	if err != nil {
		answer(w, nil, err)
		return
	}
	body, err := wire.ToJSON(out)
	answer(w, body, err)
}

// serveSSO logs a user in who is known by other means, and sends the browser back to the client.
func (c caller) serveSSO(w http.ResponseWriter, r *http.Request) {
	ip, _, _ := net.SplitHostPort(r.RemoteAddr)
	out, err := c.api.CompleteSsoLoginAsync(r.Context(), &moduleapiv1.CompleteSsoLoginAsyncRequest{
		RegisteredUserId: r.URL.Query().Get("user"), ClientRedirectUrl: r.URL.Query().Get("redirect"),
		AuthProviderId: new("caller"), Ip: &ip, UserAgent: new(r.UserAgent()),
	})
	if err != nil {
		answer(w, nil, err)
		return
	}
	for _, h := range out.GetHeaders() {
		w.Header().Add(h.GetName(), h.GetValue())
	}
	w.WriteHeader(int(out.GetStatus()))
	_, _ = w.Write(out.GetBody())
}

func answer(w http.ResponseWriter, body []byte, err error) {
	status := http.StatusOK
	if err != nil {
		status, body = matrix(err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func matrix(err error) (int, []byte) {
	e, ok := errors.AsType[*modulekit.MatrixError](err)
	if !ok {
		e = &modulekit.MatrixError{Status: http.StatusGatewayTimeout, Errcode: "M_UNKNOWN", Text: err.Error()}
	}
	body, _ := json.Marshal(map[string]string{"errcode": e.Errcode, "error": e.Text}) // It is made of strings.
	return e.Status, body
}

// checkEvent makes the calls that an event tells it to, and refuses the event with their replies.
func (c caller) checkEvent(
	ctx context.Context, req *callbacksv1.CheckEventForSpamRequest,
) (*callbacksv1.CheckEventForSpamResponse, error) {
	var event struct {
		Content struct {
			Method  string          `json:"org.example.method"`
			Request json.RawMessage `json:"org.example.request"`
		} `json:"content"`
	}
	if err := json.Unmarshal(req.GetEvent().GetJson(), &event); err != nil || event.Content.Method == "" {
		return nil, err
	}
	reply, err := c.call(ctx, event.Content.Method, event.Content.Request)
	if err != nil {
		_, reply = matrix(err)
	}
	fields, err := json.Marshal(map[string]json.RawMessage{"org.example.reply": reply})
	if err != nil {
		return nil, err
	}
	return &callbacksv1.CheckEventForSpamResponse{Refusal: &callbacksv1.Refusal{
		Errcode: "M_FORBIDDEN", Error: "called", AdditionalFields: fields,
	}}, nil
}
