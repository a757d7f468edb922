package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// updateSubject is the subject in the system account on which the servers' resolvers accept an account's token.
const updateSubject = "$SYS.REQ.CLAIMS.UPDATE"

// Tell updates the account on a server that was made with [Keys.Trust]. Users that the account revokes are disconnected.
func Tell(s *server.Server, a Account) error {
	claims, err := a.Claims()
	if err != nil {
		return err
	}
	known, err := s.LookupAccount(a.ID)
	if err != nil {
		return fmt.Errorf("cannot tell NATS who may connect: %w", err)
	}
	s.UpdateAccountClaims(known, claims)
	return nil
}

// Push updates the account on an external NATS. Users that it revokes are disconnected. The connection must be one of
// [System]. It waits until one server has accepted the account, or ctx ends; that server tells the others.
func Push(ctx context.Context, system *nats.Conn, a Account) error {
	m, err := system.RequestWithContext(ctx, updateSubject, []byte(a.Token))
	if err != nil {
		return fmt.Errorf("cannot tell NATS who may connect: %w: is the resolver of its configuration what \"busd nats-config\" prints?", err)
	}
	var answer struct {
		Error *struct {
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("cannot tell NATS who may connect: it answers what is no JSON: %w", err)
	}
	if answer.Error != nil {
		return errors.New("cannot tell NATS who may connect: " + answer.Error.Description)
	}
	return nil
}
