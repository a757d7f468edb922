package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// arrangement is a way to have the check done, by one module or by several.
type arrangement struct {
	name string

	// open starts what the modules need beside Synapse. It returns the entries of Synapse's list of modules, and which
	// pages tell how often each module checked, where those without a host are Synapse's own.
	open func(ctx context.Context, s *stage, modules []checkConfig) (entries, pages []string, err error)
}

var (
	nothing   = arrangement{"no module", openNothing}
	inProcess = arrangement{"in Synapse's process", openInProcess}
	antispam  = arrangement{"synapse-http-antispam", openAntispam}
	ours      = arrangement{"modulebus", bridgedBy("modulebus_synapse.ModuleBus")}
	onAgent   = arrangement{"modulebus on Twisted's Agent", bridgedBy("agent.AgentBus")}
)

func openNothing(context.Context, *stage, []checkConfig) (entries, pages []string, err error) {
	return nil, nil, nil
}

func openInProcess(_ context.Context, _ *stage, modules []checkConfig) (entries, pages []string, err error) {
	for _, m := range modules {
		entries = append(entries, entry("check.Check", m))
		pages = append(pages, m.Path)
	}
	return entries, pages, nil
}

// openAntispam has one server, since the module knows one.
func openAntispam(_ context.Context, s *stage, modules []checkConfig) (entries, pages []string, err error) {
	if len(modules) != 1 || modules[0].Pause != 0 {
		return nil, nil, errors.New("the server does one check, at once")
	}
	url, err := s.again("antispam-server", antispamRole)
	const callback = "check_event_for_spam"
	return []string{entry("synapse_http_antispam.HTTPAntispam", map[string]any{
		"base_url":          url,
		"enabled_callbacks": []string{callback},
		"fail_open":         map[string]bool{callback: false}, // What did not work must not count.
	})}, []string{url + path(antispamRole)}, err
}

// bridgedBy has busd run the modules, and a class of Synapse's modules ask it.
func bridgedBy(class string) func(context.Context, *stage, []checkConfig) (entries, pages []string, err error) {
	return func(_ context.Context, s *stage, modules []checkConfig) (entries, pages []string, err error) {
		url, err := s.bus("", modules, s.ownRun)
		for _, m := range modules {
			pages = append(pages, url+m.Path)
		}
		return []string{entry(class, map[string]string{"url": url})}, pages, err
	}
}

// entry is one of Synapse's list of modules.
func entry(class string, config any) string {
	return fmt.Sprintf("{module: %s, config: %s}", class, quoted(config))
}

// quoted is the value as JSON, which YAML can read.
func quoted(v any) string {
	raw, _ := json.Marshal(v) // Nothing here has no JSON form.
	return string(raw)
}

// contender is an arrangement at work.
type contender struct {
	name    string
	server  *synapse
	clients []*client
	pages   []string // where each module tells how often it checked
	sent    int64    // in all rounds
	checked int64    // by each of the modules, all of them together
	samples []sample

	// switches are pages that turn modules on and off, where contenders have one Synapse, which has the modules of all.
	switches map[string]bool
}

// begin takes the turn.
func (c *contender) begin(ctx context.Context) error {
	for page, on := range c.switches {
		status, err := call(ctx, http.MethodPut, page, "", on, nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s has status %d", page, status)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tried sends what is to be refused, if anybody checks.
func (c *contender) tried(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	want := http.StatusForbidden
	if len(c.pages) == 0 {
		want = http.StatusOK
	}
	got, err := c.clients[0].send(ctx, "buy "+spam)
	if err == nil && got != want {
		err = fmt.Errorf("spam has status %d, not %d", got, want)
	}
	return err
}

// count is how many checks there were, by each module.
func (c *contender) count(ctx context.Context) (counts []int64, err error) {
	for _, page := range c.pages {
		n, err := number(ctx, page)
		if err != nil {
			return nil, err
		}
		counts = append(counts, n)
	}
	return counts, nil
}
