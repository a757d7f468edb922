package main

import (
	"bufio"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/modulebus/modulebus/internal/freeport"
)

// patience is how long anything may take to be ready, or to end.
const patience = 60 * time.Second

// stage is where a comparison takes place: a folder, and the processes in it. What is opened on it, close closes, the last
// first.
type stage struct {
	dir     string
	bridge  string   // folder of the bridge's Python package
	kit     string   // folder of the kit's
	busd    string   // the daemon's program
	port    int      // of the next Synapse
	late    *process // a busd that is ready when that Synapse is; nil for none
	policy  string   // of each module in busd's configuration: more of its YAML
	started []*process
	closers []func() error
}

// modules are Synapse's: the check, and the bridge on another client.
//
//go:embed *.py
var modules embed.FS

func newStage() (*stage, error) {
	dir, err := os.MkdirTemp("", "synapsebench-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir, busd: filepath.Join(dir, "busd")}
	s.onClose(func() error { return os.RemoveAll(dir) })
	return s, nil
}

// build has all programs ready to be started.
func (s *stage) build(ctx context.Context) error {
	root, err := output(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	if err != nil {
		return err
	}
	s.bridge = filepath.Join(strings.TrimSpace(root), "bridges", "synapse")
	s.kit = filepath.Join(strings.TrimSpace(root), "bridges", "python")
	_, err = output(ctx, "go", "build", "-o", s.busd, module+"/cmd/busd")
	return errors.Join(err, os.CopyFS(s.dir, modules))
}

const module = "github.com/modulebus/modulebus"

// output runs a command, and returns what it printed.
func output(ctx context.Context, program string, args ...string) (string, error) {
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", cmd, err, &stderr)
	}
	return string(out), err
}

func (s *stage) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *stage) close() error {
	var errs []error
	for _, f := range slices.Backward(s.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// process is a program under way. What it logs is in a file on the stage.
type process struct {
	*exec.Cmd
	log    string
	stdout *bufio.Reader
	ended  chan struct{}
}

// start starts a program that ends with the stage.
func (s *stage) start(name string, env []string, program string, args ...string) (*process, error) {
	p := &process{Cmd: exec.Command(program, args...), log: filepath.Join(s.dir, name+".log"), ended: make(chan struct{})}
	p.Dir, p.Env = s.dir, append(os.Environ(), env...)
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	stdout, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close()
	p.Stderr, p.Stdout, p.stdout = log, write, bufio.NewReader(stdout)
	if err := p.Start(); err != nil {
		return nil, errors.Join(err, stdout.Close())
	}
	go func() { defer close(p.ended); _ = p.Wait() }() // How it ends interests only those who wait for it to be ready.
	s.started = append(s.started, p)
	s.onClose(func() error { return errors.Join(p.stop(), stdout.Close()) })
	return p, nil
}

func (p *process) stop() error {
	_ = p.Process.Signal(syscall.SIGTERM) // It may be gone.
	select {
	case <-p.ended:
		return nil
	case <-time.After(patience):
		return errors.Join(fmt.Errorf("%s does not end", p.Path), p.Process.Kill())
	}
}

// url is the address in the line by which the process announces that it serves.
func (p *process) url() (string, error) {
	line, err := p.stdout.ReadString('\n')
	_, rest, ok := strings.Cut(line, "HTTP at ")
	if err != nil || !ok {
		return "", p.failed(fmt.Errorf("announced %q: %w", line, err))
	}
	address, _, _ := strings.Cut(rest, ",")
	return address, nil
}

// failed is the error, with the last that the process said.
func (p *process) failed(err error) error {
	const most = 4 << 10
	said, _ := os.ReadFile(p.log)
	return fmt.Errorf("%s: %w\n%s", filepath.Base(p.Path), err, said[max(0, len(said)-most):])
}

// explained is the error, with the last words of whatever process ended by itself.
func (s *stage) explained(err error) error {
	for _, p := range s.started {
		select {
		case <-p.ended:
			err = errors.Join(err, p.failed(fmt.Errorf("it ended: %v", p.ProcessState)))
		default:
		}
	}
	return err
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

// synapse starts one with these modules, a list in YAML, on the stage's port, and returns when it serves.
func (s *stage) synapse(ctx context.Context, modules string) (*synapse, error) {
	home, err := os.MkdirTemp(s.dir, "synapse-")
	if err != nil {
		return nil, err
	}
	if err := configure(home, s.port, modules); err != nil {
		return nil, err
	}
	config := filepath.Join(home, "homeserver.yaml")
	if _, err := output(ctx, python(), "-m", "synapse.app.homeserver", "-c", config, "--generate-keys"); err != nil {
		return nil, err
	}
	p, err := s.start(filepath.Base(home), []string{"PYTHONPATH=" + s.dir + ":" + s.bridge}, python(), "-m", "synapse.app.homeserver", "-c", config)
	if err != nil {
		return nil, err
	}
	h := &synapse{p, fmt.Sprintf("http://127.0.0.1:%d", s.port)}
	return h, h.ready(ctx)
}

// cpu is the time that the process has used of all processors.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, fields, _ := strings.Cut(string(stat), ") ") // The name before may have spaces in it.
	var user, system int64
	const before = 11 // fields that are something else
	_, err = fmt.Sscan(strings.Join(strings.Fields(fields)[before:], " "), &user, &system)
	const tick = 10 * time.Millisecond // of a kernel as it tells users
	return time.Duration(user+system) * tick, err
}
