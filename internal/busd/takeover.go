package busd

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/operatordoor"
)

// reload applies what can be changed while busd runs: the list of modules, the budget, the evaluation and the tokens.
// After a mistake in the file, it waits for the file to change; after any other failure, it tries again.
func (d *daemon) reload(ctx context.Context, r Reload) {
	if r.Err != nil {
		d.reloads.drop()
		d.reloads.refuse(r.Err)
		d.Log.Error().Err(r.Err).Msg("the changed configuration is not good; the old one stays")
		return
	}
	if err := d.make(ctx, r.Config); err != nil {
		if d.reloads.hold(r.Config) {
			d.Log.Error().Err(err).Msg("the changed configuration cannot be taken over yet; the old one stays, and it is tried again")
		}
		d.reloads.refuse(err)
		return
	}
	d.reloads.drop()
	status := operatordoor.ConfigStatus{TakenAt: time.Now(), RestartFor: d.needsRestart(r.Config)}
	if len(status.RestartFor) > 0 {
		d.Log.Warn().Strs("keys", status.RestartFor).Msg("these keys are only read at the start: restart busd for what changed in them")
	}
	status.Changed = d.take(r.Config)
	d.reloads.note(status)
}

// tryAgain is reload of a configuration that could not be applied before.
func (d *daemon) tryAgain(ctx context.Context) {
	d.reloads.retries.Inc()
	d.reload(ctx, Reload{Config: d.reloads.held})
}

// make makes what a configuration needs and busd does not have yet, such as streams. It blocks for at most ten seconds,
// or until ctx ends.
func (d *daemon) make(ctx context.Context, c *config.Config) error {
	if err := d.news.Prepare(ctx, c.Modules); err != nil {
		return err
	}
	return d.retoken(c.HTTP)
}

// retoken replaces the tokens if their list has changed. The files of an unchanged list are read again when they
// change.
func (d *daemon) retoken(c config.HTTP) error {
	if reflect.DeepEqual(c.AllTokens(), d.config.HTTP.AllTokens()) {
		return nil
	}
	c.Listen = d.config.HTTP.Listen // It stays as it is until a restart.
	if len(c.AllTokens()) == 0 && !c.Local() {
		return errors.New("http.token_file: is missing, and other machines reach " + c.Listen + " until busd is restarted")
	}
	if err := d.guard.Configure(c); err != nil {
		return err
	}
	d.config.HTTP.TokenFile, d.config.HTTP.Tokens = c.TokenFile, c.Tokens
	return nil
}

// needsRestart returns the changed keys that are read at the start only.
func (d *daemon) needsRestart(c *config.Config) (keys []string) {
	for _, k := range []struct {
		name     string
		was, now any
	}{
		{"server_name", d.config.ServerName, c.ServerName},
		{"state_dir", d.config.StateDir, c.StateDir},
		{"nats", d.config.NATS, c.NATS},
		{"http", d.config.HTTP, c.HTTP},
		{"homeserver", d.config.Homeserver, c.Homeserver},
		{"policy_server", d.config.PolicyServer, c.PolicyServer},
	} {
		if !reflect.DeepEqual(k.was, k.now) {
			keys = append(keys, k.name)
		}
	}
	return keys
}

func (d *daemon) take(c *config.Config) *operatordoor.Changed {
	was, now := names(d.config.Modules), names(c.Modules)
	added, otherwise := without(now, was), differing(d.config.Modules, c.Modules)
	d.config.Modules, d.config.Sequential, d.config.Decisions = c.Modules, c.Sequential, c.Decisions
	d.journal.Configure(c.Decisions)
	d.readers.Configure(mayRead(c.Modules))
	d.roster.Evaluate(c.Sequential)
	d.admission.List(now, d.config.Budget)
	changed := d.roster.Configure(c.Modules, c.Budget, time.Now())
	d.news.Configure(c.Modules)
	restarted := d.modules.apply(c.Modules)
	d.config.Budget = c.Budget // Asks that began before keep the old one.
	d.service.Changed(changed)
	diff := &operatordoor.Changed{
		Added: added, Removed: without(was, now), Restarted: restarted, Changed: without(otherwise, restarted), Reordered: reordered(was, now),
	}
	d.Log.Info().Strs("added", diff.Added).Strs("removed", diff.Removed).Strs("restarted", diff.Restarted).Strs("changed", diff.Changed).
		Bool("reordered", diff.Reordered).Msg("took over the new configuration")
	return diff
}

func names(modules []config.Module) (names []string) {
	for _, m := range modules {
		names = append(names, m.Name)
	}
	return names
}

// differing names the modules that are in both lists with different entries.
func differing(was, now []config.Module) (names []string) {
	for _, m := range now {
		i := slices.IndexFunc(was, func(o config.Module) bool { return o.Name == m.Name })
		if i >= 0 && !reflect.DeepEqual(was[i], m) {
			names = append(names, m.Name)
		}
	}
	return names
}

// reordered reports whether the modules of both lists are in another order.
func reordered(was, now []string) bool {
	return !slices.Equal(without(was, without(was, now)), without(now, without(now, was)))
}

// without returns the items of list that are not in other.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return slices.Contains(other, name) })
}
