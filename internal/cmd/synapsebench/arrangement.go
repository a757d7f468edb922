package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/modulebus/modulebus/internal/freeport"
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

// again starts this program once more, in a role that announces where it serves.
func (s *stage) again(name, role string) (url string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	p, err := s.start(name, []string{roleVariable + "=" + role}, self)
	if err != nil {
		return "", err
	}
	return p.url()
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

// openOut has busd run the modules of Synapse, which ask it for what it is, and a bridge of that class ask them.
func (s *stage) openOut(bridge string, modules []checkConfig) (entries, pages []string, err error) {
	token := filepath.Join(s.dir, "token")
	if err := os.WriteFile(token, []byte("bench"), 0o600); err != nil {
		return nil, nil, err
	}
	homeserver := fmt.Sprintf("homeserver: {url: 'http://127.0.0.1:%d/_synapse/modulebus', token_file: %s}\n", s.port, quoted(token))
	port, err := freeport.Find()
	if err != nil {
		return nil, nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	if s.late, err = s.serve(address, homeserver, modules, s.unmodifiedRun); err != nil {
		return nil, nil, err
	}
	for _, m := range modules {
		pages = append(pages, "http://"+address+m.Path)
	}
	return []string{entry(bridge, map[string]string{"url": "http://" + address, "api_token_file": token})}, pages, err
}

func (s *stage) unmodifiedRun() ([]string, error) {
	return []string{"env", "PYTHONPATH=" + s.dir + ":" + s.kit, python(), "-m", "modulebus.synapse", "check.Check"}, nil
}

// ownRun runs the modules that are this program once more.
func (s *stage) ownRun() ([]string, error) {
	self, err := os.Executable()
	return []string{self}, err
}

// bus starts busd with the modules, waits until they are ready, and returns where it serves.
func (s *stage) bus(more string, modules []checkConfig, run func() ([]string, error)) (url string, err error) {
	p, err := s.serve("127.0.0.1:0", more, modules, run)
	if err != nil {
		return "", err
	}
	return p.url()
}

// serve starts busd at an address with the modules, and with more of its configuration. It announces itself when they are ready, or
// after a minute: modules of Synapse wait for Synapse.
func (s *stage) serve(address, more string, modules []checkConfig, run func() ([]string, error)) (*process, error) {
	command, err := run()
	if err != nil {
		return nil, err
	}
	config, err := s.busdYAML(fmt.Sprintf("busd-%d", len(s.started)), address, more, modules, command)
	if err != nil {
		return nil, err
	}
	return s.start("busd", []string{roleVariable + "=" + moduleRole}, s.busd, "serve", "--config", config)
}

// busdYAML writes the configuration of one daemon.
func (s *stage) busdYAML(name, address, more string, modules []checkConfig, command []string) (file string, err error) {
	text := fmt.Appendf(nil, "server_name: localhost\nstate_dir: %s\nnats: {listen: '127.0.0.1:0'}\nhttp: {listen: %s}\n%smodules:\n",
		quoted(filepath.Join(s.dir, name)), quoted(address), more)
	for _, m := range modules {
		text = fmt.Appendf(text, "- {module: %s, run: %s, environment: [%s], config: %s%s}\n",
			filepath.Base(m.Path), quoted(command), roleVariable, quoted(m), s.policy)
	}
	file = filepath.Join(s.dir, name+".yaml")
	return file, os.WriteFile(file, text, 0o600)
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

// compete starts an arrangement with that many clients, and shows that its check works.
func (s *stage) compete(ctx context.Context, a arrangement, clients int, modules []checkConfig) (*contender, error) {
	c, err := s.arrange(ctx, a, clients, modules)
	if err != nil {
		return nil, err
	}
	return c, c.tried(ctx)
}

// arrange starts an arrangement with that many clients.
func (s *stage) arrange(ctx context.Context, a arrangement, clients int, modules []checkConfig) (*contender, error) {
	var err error
	if s.port, err = freeport.Find(); err != nil {
		return nil, err
	}
	entries, pages, err := a.open(ctx, s, modules)
	if err != nil {
		return nil, err
	}
	server, err := s.synapse(ctx, strings.Join(entries, ", "))
	if err != nil {
		return nil, err
	}
	if s.late != nil {
		if _, err := s.late.url(); err != nil {
			return nil, err
		}
		s.late = nil
	}
	c := &contender{name: a.name, server: server, pages: pages}
	for i, page := range pages {
		if strings.HasPrefix(page, "/") {
			c.pages[i] = server.url + page
		}
	}
	for i := range clients {
		client, err := server.joined(ctx, "client-"+strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		c.clients = append(c.clients, client)
	}
	return c, nil
}

// opposed starts one Synapse that has the modules in its process and out of it, and returns both as contenders. Of two Synapses, one
// is faster by up to a tenth for as long as it runs, whatever they do.
func (s *stage) opposed(ctx context.Context, clients int, modules []checkConfig) ([]*contender, error) {
	const bus = "/_synapse/client/bench/bus"
	both := arrangement{"the same module out of its process", func(ctx context.Context, s *stage, modules []checkConfig) ([]string, []string, error) {
		out, pages, err := s.openOut("switched.SwitchedBus", modules)
		if err != nil {
			return nil, nil, err
		}
		in, _, err := openInProcess(ctx, s, modules)
		return append(out, in...), pages, err
	}}
	out, err := s.arrange(ctx, both, clients, modules)
	if err != nil {
		return nil, err
	}
	in := &contender{name: inProcess.name, server: out.server, clients: out.clients}
	out.switches, in.switches = map[string]bool{out.server.url + bus: true}, map[string]bool{out.server.url + bus: false}
	for _, m := range modules {
		page := out.server.url + m.Path
		in.pages = append(in.pages, page)
		out.switches[page], in.switches[page] = false, true
	}
	return []*contender{out, in}, errors.Join(out.tried(ctx), in.tried(ctx))
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
