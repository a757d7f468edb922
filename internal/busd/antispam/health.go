package antispam

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/modulebus/modulebus/internal/antispam"
)

const (
	// pingTime is how long a server may take for a ping. Beyond: its module has failed, until it answers.
	pingTime = 5 * time.Second

	wellEvery   = 15 * time.Second // between pings of a server that is well
	unwellEvery = 2 * time.Second  // between pings of one that is not
	idLength    = 8                // of pings
)

// watch pings the server until ctx ends, and reports its health.
func (s *Server) watch(ctx context.Context) {
	for last := "-"; ; {
		why := s.ping(ctx)
		if ctx.Err() != nil {
			return
		}
		if s.Health(why); why != last && why != "" {
			s.Log.Warn().Str("reason", why).Msg("the antispam server is not well")
		}
		last = why
		pause := wellEvery
		if why != "" {
			pause = unwellEvery
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// ping returns why the server does not work; empty if it does. A server without pings counts as well.
func (s *Server) ping(ctx context.Context) (why string) {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	id := rand.Text()[:idLength]
	status, body, err := s.post(ctx, "ping", fmt.Appendf(nil, `{"id":%q}`, id))
	if err != nil {
		return err.Error()
	}
	var pong struct {
		ID     string `json:"id"`
		Status string `json:"status"`
	}
	if status == http.StatusOK && json.Unmarshal(body, &pong) == nil && pong.ID == id && pong.Status == "ok" {
		return ""
	}
	if _, err := antispam.Verdict(status, body); err != nil && (status == http.StatusUnauthorized || status >= http.StatusInternalServerError) {
		return "the server " + err.Error()
	}
	return ""
}
