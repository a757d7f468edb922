package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/news"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
)

// storeNews is a homeserver whose news is stored in files for a module, and told to it meanwhile, against one that tells it. NATS is
// inside, and syncs each second, as in busd. With sync, the disk has each piece before the homeserver hears that it is stored.
func storeNews(callers int, sync bool) func(*stage) (ours, peer side, err error) {
	return func(s *stage) (ours, peer side, err error) {
		s.inside = true
		dir, err := os.MkdirTemp("", "bench-news-")
		if err != nil {
			return ours, peer, err
		}
		s.onClose(func() error { return os.RemoveAll(dir) })
		if err := s.launch(&server.Options{JetStream: true, StoreDir: dir, SyncAlways: sync, SyncInterval: time.Second}); err != nil {
			return ours, peer, err
		}
		if ours, err = telling(s, "example.com", callers, true); err == nil {
			peer, err = telling(s, "example.org", callers, false)
		}
		return ours, peer, err
	}
}

func telling(s *stage, name string, callers int, stored bool) (side, error) {
	m := config.Module{Name: "module", Timeout: config.DefaultTimeout, AtLeastOnce: stored, DeliverFor: config.DefaultDeliverFor}
	var service *news.Service
	if stored {
		nc, err := s.connect()
		if err != nil {
			return side{}, err
		}
		if service, err = news.New(news.Options{Conn: nc, ServerName: name, Alone: true, Log: zerolog.Nop()}); err != nil {
			return side{}, err
		}
		if err := service.Prepare(context.Background(), []config.Module{m}); err != nil {
			return side{}, err
		}
	}
	h, err := newHomeserverOf(s, name, m)
	if err != nil {
		return side{}, err
	}
	if stored {
		service.Start(h.client.AwaitRoster, []config.Module{m})
		s.onClose(func() error { service.Close(); return nil })
	}
	var n atomic.Int64
	do := func(ctx context.Context) error {
		user := fmt.Sprintf("@user%d:example.com", n.Add(1)%1000)
		d, err := h.client.ThirdPartyRules.OnProfileUpdate(ctx, &callbacksv1.OnProfileUpdateRequest{UserId: user})
		if err == nil && len(d.Failures) > 0 {
			err = fmt.Errorf("module %s failed: %v: %s", d.Failures[0].Module, d.Failures[0].Kind, d.Failures[0].Text)
		}
		return err
	}
	return side{callers, do}, h.module("module", func(api *modulekit.ModuleAPI) {
		api.RegisterThirdPartyRulesCallbacks(modulekit.ThirdPartyRulesCallbacks{OnProfileUpdate: heard})
	})
}

func heard(context.Context, *callbacksv1.OnProfileUpdateRequest) (*callbacksv1.OnProfileUpdateResponse, error) {
	return nil, nil
}
