package main

import (
	"context"

	"github.com/modulebus/modulebus/internal/busd/access"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/door/antispamdoor"
	"github.com/modulebus/modulebus/internal/busd/door/httpdoor"
	"github.com/rs/zerolog"
)

// frontDoor is a homeserver that asks busd in the HTTP antispam protocol, with one module behind it, against one that asks the
// same of a plain HTTP server. NATS is inside, as in busd.
func frontDoor(callers int) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		s.inside = true
		if ours, err = throughDoor(s, callers); err == nil {
			peer, err = overHTTP(s, callers)
		}
		return ours, peer, err
	}
}

func throughDoor(s *stage, callers int) (side, error) {
	h, err := newHomeserver(s, "example.com", "module")
	if err != nil {
		return side{}, err
	}
	if err := h.module("module", answering(abstain)); err != nil {
		return side{}, err
	}
	guard, err := access.NewGuard("example.com", config.HTTP{}, zerolog.Nop())
	if err != nil {
		return side{}, err
	}
	life := door.NewLife()
	life.Begin()
	d := httpdoor.New(httpdoor.Options{
		Config: config.HTTP{Listen: "127.0.0.1:0"}, Client: h.client, Life: life, Guard: guard, Log: zerolog.Nop(),
		Doors: []door.Served{antispamdoor.New(antispamdoor.Options{
			ServerName: "example.com", Answerer: door.NewAnswerer(h.client, zerolog.Nop()), Life: life, Log: zerolog.Nop(),
		})},
	})
	if err := d.Open(); err != nil {
		return side{}, err
	}
	s.onClose(func() error { d.Close(); return nil })
	c, url := s.httpClient(callers), "http://"+d.Addr()+"/_modulebus/antispam/user_may_create_room"
	return side{callers, func(ctx context.Context) error { return post(ctx, c, url) }}, nil
}
