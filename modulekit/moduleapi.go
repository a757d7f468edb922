package modulekit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/subjects"
)

// MatrixError is the error of a call of the Module API that the homeserver, or busd, answered with an error.
type MatrixError = matrix.Error

// callTimeout is how long a call may take whose context has no deadline.
const callTimeout = 60 * time.Second

// callHomeserver is the one path that every method of the Module API takes. It blocks until the reply is there or ctx ends.
// It may be called concurrently, from inside callbacks and web resources, too.
func callHomeserver[Request, Reply proto.Message](
	ctx context.Context, api *ModuleAPI, m subjects.APIMethod[Request, Reply], req Request,
) (Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	reply, err := api.host.Call(ctx, m.Method, req)
	if err != nil {
		var none Reply
		return none, fmt.Errorf("modulekit: %s: %w", m.Name, err)
	}
	return reply.(Reply), nil
}

// IsMine reports whether an ID, such as @alice:example.com, belongs to this homeserver.
func (api *ModuleAPI) IsMine(id string) bool {
	_, server, ok := strings.Cut(id, ":")
	return ok && server == api.ServerName()
}

// GetQualifiedUserID returns the user ID of a local user, @username:server. It returns a username that begins with @ unchanged.
func (api *ModuleAPI) GetQualifiedUserID(username string) string {
	if strings.HasPrefix(username, "@") {
		return username
	}
	return "@" + username + ":" + api.ServerName()
}
