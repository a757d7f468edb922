package busd

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/modulebus/modulebus/internal/busd/registry"
	"github.com/modulebus/modulebus/subjects"
)

const (
	look     = 50 * time.Millisecond // between looks at who is ready
	remind   = 10 * time.Second      // between words in the log about who is not
	patience = 5 * time.Second       // for modules that busd does not run
)

// announce says once how the start went: when all modules are ready, or those that are not have failed, or are others'
// to start and have not come.
func (d *daemon) announce(ctx context.Context, to io.Writer) {
	if to == nil {
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
			missing := notReady(d.registry.Modules())
			if settled(missing, now.Sub(start)) && d.client.Roster().GetRevision() == d.registry.Roster().GetRevision() {
				_, _ = fmt.Fprintln(to, d.line(missing)) // Nobody may be reading.
				return
			}
			if now.Sub(reminded) > remind {
				d.Log.Info().Str("modules", describe(missing)).Msg("waiting for modules")
				reminded = now
			}
		}
	}
}

func settled(missing []registry.Status, waited time.Duration) bool {
	for _, m := range missing {
		if m.State == registry.Starting || m.State == registry.Absent && waited < patience {
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
	url := "http://" + d.Config.HTTP.Listen
	return fmt.Sprintf("busd: %s: HTTP at %s, NATS at %s; try: %s and: %s", how, url, d.broker.shown(), d.tryAsk(), d.tryWeb())
}

func describe(missing []registry.Status) string {
	var all []string
	for _, m := range missing {
		text := fmt.Sprintf("module %s is %s", m.Name, m.State)
		if m.LastError != "" {
			text += " (" + m.LastError + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// tryAsk is a command that asks the first callback that a module wants.
func (d *daemon) tryAsk() string {
	base := "http://" + d.Config.HTTP.Listen
	for _, m := range d.client.Roster().GetModules() {
		for _, i := range m.GetCallbacks() {
			c, ok := subjects.Find(i.GetCallback())
			if ok {
				return fmt.Sprintf("curl%s -d '%s' %s/_modulebus/v1/ask/%s/%s", d.authorization(), sample(c, d.Config.ServerName), base, c.Category.Name, c.Name)
			}
		}
	}
	return fmt.Sprintf("curl%s %s/_modulebus/v1/modules", d.authorization(), base)
}

func (d *daemon) authorization() string {
	if d.Config.HTTP.TokenFile == "" {
		return ""
	}
	return fmt.Sprintf(` -H "Authorization: Bearer $(cat '%s')"`, d.Config.HTTP.TokenFile)
}

// sample is a request in which the first thing that may be a user ID is the founding page's.
func sample(c *subjects.Declaration, serverName string) string {
	for i := range c.RequestFields().Len() {
		if f := c.RequestFields().Get(i); f.Kind() == protoreflect.StringKind && !f.IsList() {
			return fmt.Sprintf(`{"%s":"@evilguy:%s"}`, f.Name(), serverName)
		}
	}
	return "{}"
}

// tryWeb is a command that gets the first web resource of a module.
func (d *daemon) tryWeb() string {
	base := "http://" + d.Config.HTTP.Listen
	for _, m := range d.client.Roster().GetModules() {
		for _, path := range m.GetWebResources() {
			return fmt.Sprintf("curl '%s%s?name=alice'", base, path)
		}
	}
	return "curl " + base + "/readyz"
}
