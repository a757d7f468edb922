package modulekit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

// MatrixError is an error that the homeserver, or busd, answered a call of the Module API with.
type MatrixError = wire.MatrixError

// callTimeout is how long a call may take whose context has no deadline.
const callTimeout = 60 * time.Second

// callHomeserver is the one path that every method of the Module API takes. It blocks until the reply is there or ctx ends,
// of which the homeserver is told then. It may be called concurrently, from inside callbacks and web resources, too.
func callHomeserver[Request, Reply proto.Message](
	ctx context.Context, api *ModuleAPI, m subjects.APIMethod[Request, Reply], req Request,
) (Reply, error) {
	var none Reply
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	msg, err := api.call(ctx, m.Method, req)
	if err != nil {
		return none, fmt.Errorf("modulekit: %s: %w", m.Name, err)
	}
	reply := m.NewReply()
	if err := wire.DecodeMessage(msg, reply); err != nil {
		return none, fmt.Errorf("modulekit: %s: cannot read the reply: %w", m.Name, err)
	}
	return reply.(Reply), nil
}

func (api *ModuleAPI) call(ctx context.Context, m *subjects.Method, req proto.Message) (*nats.Msg, error) {
	nc, server := api.options.nc, subjects.For(api.ServerName())
	if nc == nil {
		return nil, &MatrixError{Status: http.StatusServiceUnavailable, Errcode: "M_UNKNOWN", Text: "this module is on no bus"}
	}
	data, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	name := rand.Text()
	msg, err := nc.RequestMsgWithContext(ctx, &nats.Msg{
		Subject: server.API(m, api.Name()), Data: data,
		Header: nats.Header{wire.HeaderCall: {name}, wire.HeaderTimeout: {left(ctx)}},
	})
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		text := "no homeserver serves the Module API: is homeserver.url set in busd.yaml?"
		return nil, &MatrixError{Status: http.StatusServiceUnavailable, Errcode: "M_UNKNOWN", Text: text}
	case err != nil:
		_ = nc.Publish(server.APICancel(api.Name()), []byte(name)) // The deadline covers what is lost.
		return nil, err
	}
	if e := wire.MatrixErrorOf(msg); e != nil {
		return nil, e
	}
	return msg, nil
}

// left is the time that ctx has, in milliseconds.
func left(ctx context.Context) string {
	deadline, _ := ctx.Deadline() // It has one.
	return strconv.FormatInt(max(1, time.Until(deadline).Milliseconds()), 10)
}

// IsMine reports whether an ID, such as @alice:example.com, belongs to this homeserver.
func (api *ModuleAPI) IsMine(id string) bool {
	_, server, ok := strings.Cut(id, ":")
	return ok && server == api.ServerName()
}

// GetQualifiedUserID returns the user ID of a local user: @username:server, or what it is given if that is one already.
func (api *ModuleAPI) GetQualifiedUserID(username string) string {
	if strings.HasPrefix(username, "@") {
		return username
	}
	return "@" + username + ":" + api.ServerName()
}
