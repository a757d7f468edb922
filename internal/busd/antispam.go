package busd

import (
	"context"
	"reflect"
	"time"

	"github.com/modulebus/modulebus/internal/busd/antispam"
	"github.com/modulebus/modulebus/internal/busd/config"
)

// server is an antispam server that takes part as a module.
type server struct {
	config  config.Antispam
	workers int
	cancel  context.CancelFunc
}

// applyServers is apply for modules that are antispam servers. If the entry of one changes, the new one takes part
// before the old one is stopped, so that no question is lost.
func (m *modules) applyServers(list []config.Module) (restarted []string) {
	old := m.servers
	m.servers = map[string]server{}
	for _, c := range list {
		if c.Antispam.BaseURL == "" {
			continue
		}
		s, known := old[c.Name]
		if known && reflect.DeepEqual(s.config, c.Antispam) && s.workers == c.AntispamWorkers() {
			delete(old, c.Name)
		} else {
			s = m.serve(c)
		}
		if m.servers[c.Name] = s; known && old[c.Name].cancel != nil {
			restarted = append(restarted, c.Name)
		}
	}
	for name, s := range old {
		if _, listed := m.servers[name]; listed {
			s.cancel()
		} else {
			m.retire(s.cancel)
		}
	}
	return restarted
}

// serve makes the server take part as a module. If it cannot, the reason is the module's last error.
func (m *modules) serve(c config.Module) server {
	ctx, cancel := context.WithCancel(m.ctx)
	unless := func(tell func(module, why string, now time.Time)) func(string) {
		return func(why string) {
			if ctx.Err() == nil {
				tell(c.Name, why, time.Now())
			}
		}
	}
	ended := unless(m.daemon.roster.Crashed)
	o := antispam.Options{
		Module: c, ServerName: m.daemon.config.ServerName, Conn: m.daemon.broker.Conn, Health: unless(m.daemon.roster.Unwell), Log: m.daemon.Log,
	}
	m.owned.Go(func() {
		defer cancel()
		s := whenItCan(ctx, o, ended)
		if s == nil {
			return
		}
		if err := s.Run(ctx); err != nil {
			ended(err.Error())
		}
	})
	return server{c.Antispam, c.AntispamWorkers(), cancel}
}

// serverPause is how long busd waits before it tries again an antispam server that could not take part.
const serverPause = time.Second

// whenItCan makes the server as soon as the files that its entry names can be read: they may be written later. It calls
// cannot once for each new reason why it cannot, and returns nil when ctx has ended.
func whenItCan(ctx context.Context, o antispam.Options, cannot func(why string)) *antispam.Server {
	for said := ""; ; {
		s, err := antispam.New(o)
		if err == nil {
			return s
		}
		if err.Error() != said {
			said = err.Error()
			cannot(said)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(serverPause):
		}
	}
}
