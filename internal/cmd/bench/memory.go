package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// resident is a row of what a process has in memory, against a program that does as much by what the process is built on and nothing
// else. The bar is 0.7 times what the build of 25 November 2026 had, in MiB.
type resident struct {
	what, peer string
	most       float64
	read       func(ctx context.Context, r *rig) (ours, peer float64, err error)
}

func (r resident) name() string { return r.what }

func (r resident) measure(ctx context.Context, o options) (_ string, err error) {
	s, err := newStage()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	dir, err := os.MkdirTemp("", "bench-memory-")
	if err != nil {
		return "", err
	}
	s.onClose(func() error { return os.RemoveAll(dir) })
	ours, peer, err := r.read(ctx, &rig{s, dir, o.rounds == 1})
	return fmt.Sprintf("| %s | %.1f MiB | %s %.1f MiB | %.2f | ≤ %.1f MiB | %s |",
		r.what, ours, r.peer, peer, ours/peer, r.most, verdict(ours <= r.most)), err
}

func residents() []row {
	return []row{
		resident{"memory of an idle busd (VmRSS)", "NATS's server alone", 19.2, idleBusd},
		resident{"memory of an idle Go worker (VmRSS)", "a NATS client alone", 9, idleWorker},
		resident{"memory of a Go worker with 1,000 open streams (VmRSS)", "net/http alone", 18.6, streamingWorker},
	}
}

// rig is where a row runs the programs that it looks at.
type rig struct {
	*stage
	dir   string
	quick bool
}

// run builds a program and starts it. It is killed when the stage is closed. Out is what it prints.
func (r *rig) run(ctx context.Context, root, program string, env []string, args ...string) (pid int, out *bufio.Reader, err error) {
	file := filepath.Join(r.dir, filepath.Base(program))
	build := exec.CommandContext(ctx, "go", "build", "-o", file, program)
	build.Dir = root
	if said, err := build.CombinedOutput(); err != nil {
		return 0, nil, fmt.Errorf("%w: %s", err, said)
	}
	command := exec.CommandContext(ctx, file, args...)
	command.Env = append(os.Environ(), env...)
	stdout, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		return 0, nil, err
	}
	r.onClose(func() error {
		err := command.Process.Signal(os.Interrupt)
		_ = command.Wait() // Those that do not listen end by the signal.
		return err
	})
	return command.Process.Pid, bufio.NewReader(stdout), nil
}

const (
	ours = "../../.." // where this project's programs are
	here = "."        // where the peers' are
)

// rss is what a process has in memory when it has nothing to do, in MiB.
func (r *rig) rss(pid int) (used float64, err error) {
	const settled = 5 * time.Second // after which it is idle
	if !r.quick {
		time.Sleep(settled)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if kilobytes, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			_, err := fmt.Sscan(kilobytes, &used)
			return used / 1024, err
		}
	}
	return 0, errors.New("there is no VmRSS")
}

func idleBusd(ctx context.Context, r *rig) (busd, server float64, err error) {
	file := filepath.Join(r.dir, "busd.yaml")
	text := "server_name: example.com\nstate_dir: " + r.dir + "/state\nnats: {listen: '127.0.0.1:0'}\nhttp: {listen: '127.0.0.1:0'}\nmodules: []\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return 0, 0, err
	}
	pid, _, err := r.run(ctx, ours, "./cmd/busd", nil, "serve", "--config", file)
	if err != nil {
		return 0, 0, err
	}
	if busd, err = r.rss(pid); err != nil {
		return 0, 0, err
	}
	if pid, _, err = r.run(ctx, here, "./bare/server", nil, filepath.Join(r.dir, "store")); err == nil {
		server, err = r.rss(pid)
	}
	return busd, server, err
}

func idleWorker(ctx context.Context, r *rig) (worker, client float64, err error) {
	_, pid, err := r.worker(ctx)
	if err != nil {
		return 0, 0, err
	}
	if worker, err = r.rss(pid); err != nil {
		return 0, 0, err
	}
	if pid, _, err = r.run(ctx, here, "./bare/client", nil, r.url); err == nil {
		client, err = r.rss(pid)
	}
	return worker, client, err
}

// worker starts one of the example that pushes, and returns when it has joined.
func (r *rig) worker(ctx context.Context) (h *homeserver, pid int, err error) {
	const module = "clock"
	if h, err = newHomeserver(r.stage, "example.com", module); err != nil {
		return nil, 0, err
	}
	env := []string{"MODULEBUS_NATS_URL=" + r.url, "MODULEBUS_SERVER_NAME=" + h.name, "MODULEBUS_MODULE=" + module}
	if pid, _, err = r.run(ctx, ours, "./examples/clock", env); err == nil {
		err = h.await(module, 1)
	}
	return h, pid, err
}

func streamingWorker(ctx context.Context, r *rig) (worker, bare float64, err error) {
	n := 1000
	if r.quick {
		n = 10
	}
	h, pid, err := r.worker(ctx)
	if err != nil {
		return 0, 0, err
	}
	leave, err := listen(ctx, h.client.Handler(), "/_synapse/client/clock/events", n)
	defer leave()
	if err != nil {
		return 0, 0, err
	}
	if worker, err = r.rss(pid); err != nil {
		return 0, 0, err
	}
	pid, out, err := r.run(ctx, here, "./bare/streams", nil)
	if err != nil {
		return 0, 0, err
	}
	address, err := out.ReadString('\n')
	if err != nil {
		return 0, 0, err
	}
	if err := r.follow(strings.TrimSpace(address), n); err != nil {
		return 0, 0, err
	}
	bare, err = r.rss(pid)
	return worker, bare, err
}

// follow opens as many streams of an HTTP server, each of which has said something when it returns.
func (r *rig) follow(address string, n int) error {
	for range n {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		r.onClose(conn.Close)
		if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", address); err != nil {
			return err
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			return err
		}
	}
	return nil
}
