package busd

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/internal/busd/registry"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/subjects"
)

const (
	look     = 20 * time.Millisecond // between looks at who is ready
	remind   = 10 * time.Second      // between words in the log about who is not
	patience = 5 * time.Second       // for modules that busd does not run
)

// announce says once how the start went: when all modules are ready, with all the workers that busd runs of them, or
// those that are not have failed, or are others' to start and have not come.
func (d *daemon) announce(ctx context.Context) {
	if d.Announce == nil {
		return
	}
	start, reminded := time.Now(), time.Now()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			missing := incomplete(d.registry.Modules())
			// The client may follow another busd, which is ahead.
			if settled(missing, now.Sub(start)) && d.client.Roster().GetRevision() >= d.registry.Roster().GetRevision() {
				_, _ = fmt.Fprintln(d.Announce, d.line(missing)) // Nobody may be reading.
				return
			}
			if now.Sub(reminded) > remind {
				d.Log.Info().Str("modules", describe(missing)).Msg("waiting for modules")
				reminded = now
			}
		}
	}
}

// incomplete are the modules that are not ready, or not yet with all their workers.
func incomplete(all []registry.Status) (some []registry.Status) {
	for _, m := range all {
		if m.State != registry.Unlisted && (!m.Well() || m.Workers < m.Processes) {
			some = append(some, m)
		}
	}
	return some
}

// settled reports whether there is nothing more to wait for.
func settled(missing []registry.Status, waited time.Duration) bool {
	for _, m := range missing {
		switch {
		case m.State == registry.Starting,
			m.State == registry.Absent && waited < patience,
			m.State == registry.Ready && m.LastError == "":
			return false
		}
	}
	return true
}

// line is the one line.
func (d *daemon) line(missing []registry.Status) string {
	how := "ready"
	if len(missing) > 0 {
		how = "running, but not ready: " + describe(missing)
	}
	return fmt.Sprintf("busd: %s: HTTP at %s, NATS at %s; try: %s and: %s", how, d.url(), d.broker.Shown(), d.tryAsk(), d.tryWeb())
}

// url is where the HTTP door is, from this machine.
func (d *daemon) url() string {
	listen := d.http.Addr()
	if host, port, err := net.SplitHostPort(listen); err == nil && net.ParseIP(host).IsUnspecified() {
		listen = net.JoinHostPort("127.0.0.1", port)
	}
	return "http://" + listen
}

func describe(missing []registry.Status) string {
	var all []string
	for _, m := range missing {
		text := fmt.Sprintf("module %s is %s", m.Name, m.State)
		if m.State == registry.Ready && m.Workers < m.Processes {
			text = fmt.Sprintf("module %s has %d of %d workers", m.Name, m.Workers, m.Processes)
		}
		if m.LastError != "" {
			text += " (" + m.LastError + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// tryAsk is a command that asks the first callback that a module wants.
func (d *daemon) tryAsk() string {
	for _, m := range d.client.Roster().GetModules() {
		for _, i := range m.GetCallbacks() {
			c, ok := subjects.Find(i.GetCallback())
			if ok {
				path := "/_modulebus/v1/ask/" + c.Category.Name + "/" + c.Name
				return fmt.Sprintf("curl%s -d %s %s%s", d.authorization(), quote(sample(c, d.config.ServerName)), d.url(), path)
			}
		}
	}
	return fmt.Sprintf("curl%s %s/_modulebus/v1/modules", d.authorization(), d.url())
}

func (d *daemon) authorization() string {
	if d.config.HTTP.TokenFile == "" {
		return ""
	}
	return fmt.Sprintf(` -H "Authorization: Bearer $(cat %s)"`, quote(d.config.HTTP.TokenFile))
}

// quote makes a text one word of a shell command.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// sample is a request in which the first thing that may be a user ID is the founding page's.
func sample(c *subjects.Declaration, serverName string) string {
	for i := range declared.Of(c).RequestFields.Len() {
		if f := declared.Of(c).RequestFields.Get(i); f.Kind() == protoreflect.StringKind && !f.IsList() {
			return fmt.Sprintf(`{"%s":"@evilguy:%s"}`, f.Name(), serverName)
		}
	}
	return "{}"
}

// tryWeb is a command that gets the first web resource of a module.
func (d *daemon) tryWeb() string {
	for _, m := range d.client.Roster().GetModules() {
		for _, path := range m.GetWebResources() {
			return "curl " + quote(d.url()+(&url.URL{Path: path, RawQuery: "name=alice"}).String())
		}
	}
	return "curl " + d.url() + "/readyz"
}
