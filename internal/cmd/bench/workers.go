package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/nats-io/nats.go"
)

// atOnce is how many requests one worker works on, and so how many callers it has work for. It is few, so that what four
// workers can do is far from what two processors can.
const atOnce = 8

// askWorkers compares a module of four processes with the same of one, each asked as much as it can do.
func askWorkers(s *stage) (ours, peer side, err error) {
	if ours, err = askProcesses(s, 4); err == nil {
		peer, err = askProcesses(s, 1)
	}
	return ours, peer, err
}

func askProcesses(s *stage, n int) (side, error) {
	h, err := newHomeserver(s, fmt.Sprintf("of-%d.example.com", n), "module")
	if err != nil {
		return side{}, err
	}
	for range n {
		if err := h.process("module"); err != nil {
			return side{}, err
		}
	}
	operation := ask(h, nil)
	return side{n * atOnce, func(ctx context.Context) error {
		err := operation(ctx)
		for isBusy(err) { // Chance gave one worker too much. What is not answered does not count.
			err = operation(ctx)
		}
		return err
	}}, h.await("module", n)
}

func isBusy(err error) bool {
	var failed *bus.Error
	return errors.As(err, &failed) && failed.Kind == rosterv1.FailureKind_BUSY
}

// Environment variables of a worker process, which is this program once more.
const (
	workerURL    = "BENCH_WORKER_URL"
	workerServer = "BENCH_WORKER_SERVER"
	workerModule = "BENCH_WORKER_MODULE"
)

// process starts a worker of the module in a process of its own. It ends when its standard input does.
func (h *homeserver) process(module string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), workerURL+"="+h.stage.url, workerServer+"="+h.name, workerModule+"="+module)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	h.stage.onClose(func() error { return errors.Join(stdin.Close(), cmd.Wait()) })
	return nil
}

func isWorker() bool { return os.Getenv(workerURL) != "" }

// work is what a worker process does.
func work(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1)) // Nothing is ever written to it.
		cancel()
	}()
	nc, err := nats.Connect(os.Getenv(workerURL))
	if err != nil {
		return err
	}
	defer nc.Close()
	m := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		answering(slow)(api)
		api.RegisterWebResource(resource, streams(nil))
		return nil
	}}
	return modulekit.Run(ctx, nc, m, modulekit.Options{
		ServerName: os.Getenv(workerServer), Module: os.Getenv(workerModule), Concurrency: atOnce,
	})
}
