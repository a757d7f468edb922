package busd

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/subjects"
)

const (
	look     = 20 * time.Millisecond // between checks whether modules are ready
	remind   = 10 * time.Second      // between log lines about modules that are not
	patience = 5 * time.Second       // for modules that busd does not run
)

// announce announces the result of the start once. It waits until each module is ready with all the workers that busd
// runs, or has failed, or, if busd does not run it, has not joined in time. If late is true, it does not wait.
func (d *daemon) announce(ctx context.Context, late bool) {
	start := time.Now()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		missing := incomplete(d.roster.Modules())
		// The client may follow another busd, which is ahead.
		known := d.client.Roster().GetRevision() >= d.roster.Snapshot().GetRevision()
		if known && (late || settled(missing, time.Since(start))) {
			d.say(missing)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// say writes the result of the start to Announce and to the log.
func (d *daemon) say(missing []roster.Status) {
	how := "ready"
	if len(missing) > 0 {
		how = "running, but not ready"
	}
	event := d.Log.Info().Str("http", d.url()).Str("nats", d.broker.URL)
	if len(missing) > 0 {
		event.Str("modules", describe(missing))
	}
	event.Msg(how)
	d.Supervisor("READY=1\nSTATUS=" + how)
	for _, m := range missing {
		if m.Unknown {
			d.Log.Warn().Str("module", m.Name).Msg("asked nothing until it joins: it never has, so nobody knows what it wants; " +
				"name under its callbacks what must not pass without it")
		}
	}
	if d.Announce != nil {
		_, _ = fmt.Fprintln(d.Announce, d.line(missing)) // The reader may be gone.
	}
}

// remind logs every ten seconds which modules have no worker yet, until ctx ends.
func (d *daemon) remind(ctx context.Context) {
	ticker := time.NewTicker(remind)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if waiting := awaited(d.roster.Modules()); len(waiting) > 0 {
			d.Log.Warn().Str("modules", describe(waiting)).Bool("answering", d.life.Begun()).Msg("waiting for modules")
		}
	}
}

// awaited returns the listed modules without a worker.
func awaited(all []roster.Status) (some []roster.Status) {
	for _, m := range all {
		if m.State != roster.Unlisted && m.Workers == 0 {
			some = append(some, m)
		}
	}
	return some
}

// incomplete returns the modules that are not ready, or do not have all their workers yet.
func incomplete(all []roster.Status) (some []roster.Status) {
	for _, m := range all {
		if m.State != roster.Unlisted && (!m.Well() || m.Workers < m.Processes) {
			some = append(some, m)
		}
	}
	return some
}

// settled reports whether waiting longer for the missing modules is useless.
func settled(missing []roster.Status, waited time.Duration) bool {
	for _, m := range missing {
		switch {
		case m.State == roster.Starting,
			m.State == roster.Absent && waited < patience,
			m.State == roster.Ready && !m.Troubled():
			return false
		}
	}
	return true
}

// line is the announcement: the state, the addresses, and commands to try.
func (d *daemon) line(missing []roster.Status) string {
	how := "ready"
	if len(missing) > 0 {
		how = "running, but not ready: " + describe(missing)
	}
	return fmt.Sprintf("busd: %s: HTTP at %s, NATS at %s; try: %s and: %s", how, d.url(), d.broker.URL, d.tryAsk(), d.tryWeb())
}

// url is the HTTP door's URL on this machine.
func (d *daemon) url() string {
	listen := d.http.Addr()
	if host, port, err := net.SplitHostPort(listen); err == nil && net.ParseIP(host).IsUnspecified() {
		listen = net.JoinHostPort("127.0.0.1", port)
	}
	if d.config.HTTP.TLS.Cert != "" {
		return "https://" + listen
	}
	return "http://" + listen
}

func describe(missing []roster.Status) string {
	var all []string
	for _, m := range missing {
		text := fmt.Sprintf("module %s is %s", m.Name, m.State)
		switch {
		case m.State == roster.Ready && m.Workers < m.Processes:
			text = fmt.Sprintf("module %s has %d of %d workers", m.Name, m.Workers, m.Processes)
		case m.State == roster.Ready:
			text = fmt.Sprintf("module %s has joined, and does not work", m.Name)
		}
		if m.Workers == 0 && !m.Since.IsZero() {
			text += ", and has not joined, since " + m.Since.Format(time.TimeOnly)
		}
		if m.Troubled() {
			text += " (" + m.LastError + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// tryAsk is a shell command that asks a callback which a module wants and whose request needs only a user ID. If there
// is none, the command shows the modules.
func (d *daemon) tryAsk() string {
	for _, m := range d.client.Roster().GetModules() {
		for _, i := range m.GetCallbacks() {
			if c, ok := subjects.Find(i.GetCallback()); ok && ofAUser(c) {
				path := "/_modulebus/v1/ask/" + c.Category.Name + "/" + c.Name
				return fmt.Sprintf("curl%s -d %s %s%s", d.authorization(), quote(`{"user_id":"@evilguy:`+d.config.ServerName+`"}`), d.url(), path)
			}
		}
	}
	return fmt.Sprintf("curl%s %s/_modulebus/v1/modules", d.authorization(), d.url())
}

// ofAUser reports whether the request needs nothing but a user, and perhaps raw JSON that a client may leave out. Modules of
// other callbacks may find a sample malformed.
func ofAUser(c *subjects.Declaration) bool {
	fields := declared.Of(c).RequestFields
	if fields.ByName("user_id") == nil {
		return false
	}
	for i := range fields.Len() {
		if f := fields.Get(i); f.Name() != "user_id" && f.Kind() != protoreflect.BytesKind {
			return false
		}
	}
	return true
}

func (d *daemon) authorization() string {
	file := d.config.HTTP.TokenFileFor(config.ScopeAsk)
	if file == "" {
		return ""
	}
	return fmt.Sprintf(` -H "Authorization: Bearer $(cat %s)"`, quote(file))
}

// quote makes a text one word of a shell command.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// tryWeb is a shell command that gets the first web resource of a module. A resource whose path ends with hello gets a
// name.
func (d *daemon) tryWeb() string {
	for _, m := range d.client.Roster().GetModules() {
		if paths := m.GetWebResources(); len(paths) > 0 {
			u := url.URL{Path: paths[0]}
			if strings.HasSuffix(u.Path, "/hello") {
				u.RawQuery = "name=alice"
			}
			return "curl " + quote(d.url()+u.String())
		}
	}
	return "curl " + d.url() + "/readyz"
}
