// Command faulty is a module that does what the name of the user says whom it is asked about, for tests of what busd
// makes of it.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/coder/websocket"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

func main() {
	modulekit.Main(modulekit.Module[config]{Version: "0.0.1", ParseConfig: parse, New: construct})
}

type config struct {
	Takes  string `json:"takes"`  // how long each answer takes
	Secret string `json:"secret"` // nobody else's business
}

func parse(raw json.RawMessage) (config, error) {
	c, err := modulekit.DecodeConfig[config](raw)
	if err == nil && strings.Contains(c.Secret, " ") {
		err = &modulekit.ConfigError{Path: "secret", Reason: "has a space in it"}
	}
	return c, err
}

func construct(c config, api *modulekit.ModuleAPI) error {
	takes, err := time.ParseDuration(cmp.Or(c.Takes, "0s"))
	if err != nil {
		return err
	}
	m := module{api, takes}
	if os.Getenv("FAULTY_REGISTERS") == "user_may_invite" { // Another module of the same name.
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{UserMayInvite: m.userMayInvite})
		return nil
	}
	api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
		UserMayCreateRoom: m.userMayCreateRoom, CheckRegistrationForSpam: m.checkRegistrationForSpam,
	})
	api.RegisterWebResource("/_synapse/client/"+api.Name(), http.HandlerFunc(m.serve))
	return nil
}

type module struct {
	api   *modulekit.ModuleAPI
	takes time.Duration
}

func (m module) userMayCreateRoom(
	ctx context.Context, req *callbacksv1.UserMayCreateRoomRequest,
) (*callbacksv1.UserMayCreateRoomResponse, error) {
	if m.takes > 0 {
		select {
		case <-time.After(m.takes):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	localpart, _, _ := strings.Cut(req.GetUserId(), ":")
	switch localpart {
	case "@refused":
		return &callbacksv1.UserMayCreateRoomResponse{Refusal: m.refusal()}, nil
	case "@error":
		return nil, errors.New("cannot tell")
	case "@panic":
		panic("asked to")
	case "@hang":
		select {} // It does not look at its context either.
	case "@late":
		fmt.Fprintln(os.Stderr, "is late") // busd logs it, so a test knows that it is under way.
		<-ctx.Done()
		return nil, ctx.Err()
	case "@die":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	return nil, nil
}

// refusal says who refused.
func (m module) refusal() *callbacksv1.Refusal {
	r := modulekit.Refuse("M_FORBIDDEN", "Module "+m.api.Name()+" says no")
	r.AdditionalFields, _ = json.Marshal(map[string]any{"worker": m.api.Worker(), "pid": os.Getpid()})
	return r
}

func (m module) checkRegistrationForSpam(
	context.Context, *callbacksv1.CheckRegistrationForSpamRequest,
) (*callbacksv1.CheckRegistrationForSpamResponse, error) {
	return nil, errors.New("cannot tell")
}

func (m module) userMayInvite(
	context.Context, *callbacksv1.UserMayInviteRequest,
) (*callbacksv1.UserMayInviteResponse, error) {
	return &callbacksv1.UserMayInviteResponse{Refusal: m.refusal()}, nil
}

// serve answers with how much it was sent, or does what the end of the path says.
func (m module) serve(w http.ResponseWriter, r *http.Request) {
	switch path.Base(r.URL.Path) {
	case "panic":
		body, _ := io.ReadAll(r.Body) // What there is.
		panic(fmt.Sprintf("asked %s by %s with %v and %s", r.URL, r.RemoteAddr, r.Header, body))
	case "abort":
		panic(http.ErrAbortHandler)
	case "hang":
		<-r.Context().Done()
		return
	case "socket":
		socket(w, r)
		return
	}
	n, _ := io.Copy(io.Discard, r.Body)
	_ = json.NewEncoder(w).Encode(map[string]int64{"bytes": n})
}

// socket panics with the first message of a WebSocket.
func socket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // It has answered.
	}
	_, text, err := c.Read(r.Context())
	panic(fmt.Errorf("was sent %s (%w)", text, err))
}
