package busd

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/busd/roster"
)

// Verdict is a module's judgement of its configuration.
type Verdict struct {
	// Wrong is why the module refused its configuration, or why it ended before it judged it; empty if it joined.
	Wrong string

	// Skipped tells that busd does not run the module, so it was not asked.
	Skipped bool
}

// Judge starts one worker of each module that busd runs, with a separate NATS server and without a homeserver, and
// returns a verdict for each, in the order of the list. It blocks until all have joined or failed, or ctx ends, and
// then stops the workers.
func Judge(ctx context.Context, conf *config.Config, log zerolog.Logger) ([]Verdict, error) {
	alone := apart(conf)
	d := &daemon{
		Options: Options{Config: alone, Announce: io.Discard, Log: log}, config: *alone,
		metrics: newMetrics(), life: door.NewLife(), failed: make(chan error, 1),
	}
	d.reloads = newReloads(d.metrics)
	defer d.close()
	if err := d.prepare(); err != nil {
		return nil, err
	}
	d.modules.apply(alone.Modules) //nolint:contextcheck // They live until d is closed.
	d.awaitVerdicts(ctx)
	return verdicts(conf, d.roster.Modules()), nil
}

// apart returns the configuration without anything that would be noticed outside of this process.
func apart(c *config.Config) *config.Config {
	alone := &config.Config{
		ServerName: c.ServerName, Budget: c.Budget,
		NATS: config.NATS{Listen: "127.0.0.1:0", MaxPayload: c.NATS.MaxPayload},
		HTTP: config.HTTP{Listen: "127.0.0.1:0", Web: c.HTTP.Web},
	}
	for _, m := range c.Modules {
		if len(m.Run) > 0 {
			m.Workers = 1
			alone.Modules = append(alone.Modules, m)
		}
	}
	return alone
}

func (d *daemon) awaitVerdicts(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		open := false
		for _, m := range d.roster.Modules() {
			open = open || m.State == roster.Starting
		}
		if !open {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func verdicts(conf *config.Config, all []roster.Status) []Verdict {
	wrong := map[string]string{}
	for _, m := range all {
		switch {
		case m.State == roster.Starting:
			wrong[m.Name] = "has not joined in time"
		case m.State != roster.Ready:
			wrong[m.Name] = fmt.Sprintf("is %s: %s", m.State, m.LastError)
		}
	}
	list := make([]Verdict, len(conf.Modules))
	for i, m := range conf.Modules {
		list[i] = Verdict{Wrong: wrong[m.Name], Skipped: len(m.Run) == 0}
	}
	return list
}
