package exploration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

const serverName = "example.com"

// What a worker is told by its environment.
const (
	moduleVariable = "EXPLORED_MODULE"
	workerVariable = "EXPLORED_WORKER"
	natsVariable   = "EXPLORED_NATS"
)

// does is what a module does with a question.
type does int

const (
	abstains does = iota
	answers
	answersLate // but in time
	errs
	panics
	hangs
)

// script is what a module does with a question, and what it answers. It follows from their names alone.
func script(module, id string, d *subjects.Declaration) (does, proto.Message) {
	h := fnv.New64a()
	fmt.Fprint(h, module, " ", id, " ", d.Name)
	n := h.Sum64() >> 7
	a := answers
	switch percent := n % 100; {
	case percent < 55:
		return abstains, nil
	case percent < 61:
		return errs, nil
	case percent < 63:
		return panics, nil
	case percent < 65:
		return hangs, nil
	case percent < 75:
		a = answersLate
	}
	answer := reply(module, id, d, n/100%2 == 0)
	if answer == nil {
		return abstains, nil
	}
	return a, answer
}

// reply is the answer with which a module can be told from every other, and a question too.
func reply(module, id string, d *subjects.Declaration, refuses bool) proto.Message {
	by, _ := json.Marshal(map[string]string{"by": module, "about": id})
	switch {
	case d == subjects.GetUsersForStates.Declaration:
		states := &callbacksv1.UserPresenceStates{States: []*callbacksv1.UserPresenceState{{UserId: module}}}
		return &callbacksv1.GetUsersForStatesResponse{Users: map[string]*callbacksv1.UserPresenceStates{id: states}}
	case !d.CanRefuse():
		return nil
	case refuses || d == subjects.UserMayInvite.Declaration:
		return d.Refused(&callbacksv1.Refusal{Errcode: module, Error: id})
	case d == subjects.OnCreateRoom.Declaration:
		return &callbacksv1.OnCreateRoomResponse{RequestContent: by}
	}
	return &callbacksv1.CheckEventAllowedResponse{Replacement: by}
}

// request is the question with that name.
func request(id string, d *subjects.Declaration) proto.Message {
	switch d {
	case subjects.UserMayInvite.Declaration:
		return &callbacksv1.UserMayInviteRequest{Inviter: id}
	case subjects.CheckEventAllowed.Declaration:
		return &callbacksv1.CheckEventAllowedRequest{Event: &callbacksv1.Event{EventId: id, Json: []byte(`{}`)}}
	case subjects.GetUsersForStates.Declaration:
		return &callbacksv1.GetUsersForStatesRequest{StateUpdates: []*callbacksv1.UserPresenceState{{UserId: id}}}
	case subjects.OnCreateRoom.Declaration:
		return &callbacksv1.OnCreateRoomRequest{Requester: &callbacksv1.Requester{UserId: id}, RequestContent: []byte(`{}`)}
	}
	return &callbacksv1.OnUserRegistrationRequest{User: id}
}

// asked are the callbacks that are explored: each rule that several modules have a part in.
var asked = []*subjects.Declaration{
	subjects.UserMayInvite.Declaration, subjects.CheckEventAllowed.Declaration, subjects.GetUsersForStates.Declaration,
	subjects.OnCreateRoom.Declaration, subjects.OnUserRegistration.Declaration,
}

// work is a worker's whole life: until it is told to stop, or whoever started it is gone.
func work(module string) (status int) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	nc, err := connect(os.Getenv(natsVariable))
	for ; err != nil && ctx.Err() == nil; nc, err = connect(os.Getenv(natsVariable)) {
		<-time.After(retry)
	}
	if err != nil {
		return 1
	}
	defer nc.Close()
	o := modulekit.Options{ServerName: serverName, Module: module, Worker: os.Getenv(workerVariable), Concurrency: 8}
	if err := modulekit.Run(ctx, nc, modulekit.Module[struct{}]{New: register}, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

const retry = 20 * time.Millisecond

func connect(url string) (*nats.Conn, error) {
	return nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(retry), nats.ReconnectBufSize(-1), nats.PingInterval(time.Second),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})) // There will be many.
}

func register(_ struct{}, api *modulekit.ModuleAPI) error {
	api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
		UserMayInvite: play(api, subjects.UserMayInvite, (*callbacksv1.UserMayInviteRequest).GetInviter),
	})
	api.RegisterThirdPartyRulesCallbacks(modulekit.ThirdPartyRulesCallbacks{
		CheckEventAllowed: play(api, subjects.CheckEventAllowed, func(req *callbacksv1.CheckEventAllowedRequest) string { return req.GetEvent().GetEventId() }),
		OnCreateRoom:      play(api, subjects.OnCreateRoom, func(req *callbacksv1.OnCreateRoomRequest) string { return req.GetRequester().GetUserId() }),
	})
	api.RegisterPresenceRouterCallbacks(modulekit.PresenceRouterCallbacks{
		GetUsersForStates: play(api, subjects.GetUsersForStates, func(req *callbacksv1.GetUsersForStatesRequest) string {
			return req.GetStateUpdates()[0].GetUserId()
		}),
		GetInterestedUsers: play(api, subjects.GetInterestedUsers, (*callbacksv1.GetInterestedUsersRequest).GetUserId),
	})
	api.RegisterAccountValidityCallbacks(modulekit.AccountValidityCallbacks{
		OnUserRegistration: play(api, subjects.OnUserRegistration, (*callbacksv1.OnUserRegistrationRequest).GetUser),
	})
	return nil
}

// play does what the script says.
func play[Request, Reply proto.Message](
	api *modulekit.ModuleAPI, cb subjects.Callback[Request, Reply], id func(Request) string,
) func(context.Context, Request) (Reply, error) {
	return func(ctx context.Context, req Request) (reply Reply, _ error) {
		does, answer := script(api.Name(), id(req), cb.Declaration)
		switch does {
		case errs:
			return reply, errors.New("as the script says")
		case panics:
			panic("as the script says")
		case hangs:
			<-ctx.Done()
			return reply, ctx.Err()
		case answersLate:
			select {
			case <-time.After(retry):
			case <-ctx.Done():
			}
		}
		reply, _ = answer.(Reply)
		return reply, nil
	}
}
