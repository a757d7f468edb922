package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/config"
)

const (
	lookEvery = 250 * time.Millisecond // between looks at the file
	stillness = 3 * time.Second        // how long a changed file must stay the same before it counts: it may be half written
)

// watcher decides when a changed file is to be applied.
type watcher struct {
	taken []byte    // the content that counted last, valid or not
	seen  []byte    // what it held at the last look
	since time.Time // when it was first seen to hold that
}

// settled reports whether data, the file's present content, has changed and then stayed the same for long enough. If
// so, it is remembered as the content that counts.
func (w *watcher) settled(now time.Time, data []byte) bool {
	if !bytes.Equal(data, w.seen) {
		w.seen, w.since = data, now
		return false
	}
	if bytes.Equal(data, w.taken) || now.Sub(w.since) < stillness {
		return false
	}
	w.taken = data
	return true
}

// watch returns a channel that gets a configuration when the file has changed and settled, and at once after SIGHUP.
// The second channel is closed when the watch has ended, with ctx.
func watch(ctx context.Context, file string, log zerolog.Logger) (<-chan busd.Reload, <-chan struct{}) {
	out, done := make(chan busd.Reload), make(chan struct{})
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	data, _ := read(file)
	w := &watcher{taken: data, seen: data}
	go func() {
		defer close(done)
		defer signal.Stop(hangup)
		ticker := time.NewTicker(lookEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				data, err := read(file)
				if err != nil {
					log.Error().Err(err).Msg("the configuration cannot be read; the old one stays")
					continue
				}
				w.taken, w.seen = data, data
				offer(ctx, file, data, out)
			case now := <-ticker.C:
				if data, err := read(file); err == nil && w.settled(now, data) {
					offer(ctx, file, data, out)
				}
			}
		}
	}()
	return out, done
}

// read reads a file. It does not wait for what somebody may write into a pipe.
func read(file string) ([]byte, error) {
	switch info, err := os.Stat(file); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a file", file)
	}
	return os.ReadFile(file)
}

// offer sends the configuration in data, or what is wrong with it.
func offer(ctx context.Context, file string, data []byte, out chan<- busd.Reload) {
	c, err := config.Parse(file, data)
	select {
	case out <- busd.Reload{Config: c, Err: err}:
	case <-ctx.Done():
	}
}
