package admission

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/busd/identity"
)

const (
	// overlap is how long replaced credentials are accepted at most. Beyond: clients that still use them are disconnected.
	overlap = time.Hour

	// answerTime is how long the servers of a cluster have to list their connections.
	answerTime = 500 * time.Millisecond
)

// rotations retire replaced credentials as soon as no client uses them.
type rotations struct {
	admission *Admission
	tried     map[identity.User]int // the generation for which a user's workers were replaced
}

// step continues the rotations that are under way, and reports whether credentials were retired.
func (r *rotations) step(ctx context.Context) (retired bool) {
	pending, err := r.admission.Keys.Rotating()
	if err != nil {
		r.admission.refused.Error().Err(err).Msg("cannot see whose credentials were replaced")
		return false
	}
	for _, p := range pending {
		if r.replaced(ctx, p) || time.Since(p.Since) > overlap || !r.inUse(ctx, p) {
			retired = r.retire(p.User) || retired
		}
	}
	return retired
}

// replaced replaces the module's workers if busd runs them, and reports whether they have the new credentials now.
func (r *rotations) replaced(ctx context.Context, p identity.Rotation) bool {
	module, ok := p.User.Module()
	if !ok || r.tried[p.User] == p.Current {
		return false
	}
	r.tried[p.User] = p.Current
	if _, err := r.admission.Credentials(module); err != nil {
		r.admission.Log.Error().Err(err).Str("module", module).Msg("cannot hand out new credentials")
		return false
	}
	ran, err := r.admission.Replace(ctx, module)
	if err != nil {
		r.admission.Log.Error().Err(err).Str("module", module).
			Msg("not all workers have taken over new credentials: the old ones are accepted as long as they are used")
	}
	return ran && err == nil
}

func (r *rotations) retire(u identity.User) bool {
	if err := r.admission.Keys.Retire(u); err != nil {
		r.admission.Log.Error().Err(err).Stringer("user", u).Msg("cannot turn old credentials away")
		return false
	}
	r.admission.Log.Info().Stringer("user", u).Msg("credentials were replaced: the old ones are turned away from now on")
	return true
}

// inUse reports whether, by the servers' answers, a client is connected with the replaced credentials.
func (r *rotations) inUse(ctx context.Context, p identity.Rotation) bool {
	for _, key := range p.Old {
		if n, err := connectedAs(ctx, r.admission.Broker.System, key); n > 0 || err != nil {
			return true
		}
	}
	return false
}

// errSilent says that no server has listed its connections.
var errSilent = errors.New("NATS does not say who is connected")

// connectedAs asks all servers how many connections there are of a user's key.
func connectedAs(ctx context.Context, system *nats.Conn, key string) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	inbox := system.NewInbox()
	sub, err := system.SubscribeSync(inbox)
	if err != nil {
		return 0, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	query, _ := json.Marshal(map[string]any{"user": key, "auth": true, "limit": 1}) // It cannot fail.
	if err := system.PublishRequest("$SYS.REQ.SERVER.PING.CONNZ", inbox, query); err != nil {
		return 0, err
	}
	for answers := 0; ; answers++ {
		m, err := sub.NextMsgWithContext(ctx)
		if err != nil && answers == 0 {
			return 0, errSilent
		}
		if err != nil { // The servers that are there have answered.
			return n, nil
		}
		var answer struct {
			Data struct {
				Total int `json:"total"`
			} `json:"data"`
		}
		if err := json.Unmarshal(m.Data, &answer); err != nil {
			return 0, err
		}
		n += answer.Data.Total
	}
}
