package web_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modulebus/modulebus/bus"
)

// tampers are what becomes of one message of each stream: what is passed on at once, and what behind the next message.
var tampers = map[string]func(message []byte) (now, then []byte){
	"dropped": func([]byte) (now, then []byte) { return nil, nil },
	"doubled": func(m []byte) (now, then []byte) { return m, m },
	"delayed": func(m []byte) (now, then []byte) { return nil, m },
}

// meddler stands between a worker and NATS, and tampers with the frames of streams: with the first message of the first
// stream, the second of the second, and so on. It reads NATS's own protocol.
type meddler struct {
	net.Listener
	nats   string
	tamper func(message []byte) (now, then []byte)
	ended  sync.WaitGroup

	mu       sync.Mutex
	conns    []net.Conn
	streams  map[string]*meddled // by subject
	tampered int
}

// meddled is one stream, in one direction.
type meddled struct{ at, seen int }

// deepest is how far into a stream it is tampered with.
const deepest = 12

// meddle starts one. What it holds is closed when the test ends.
func meddle(t *testing.T, nats string, tamper func([]byte) (now, then []byte)) *meddler {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meddler{Listener: l, nats: strings.TrimPrefix(nats, "nats://"), tamper: tamper, streams: map[string]*meddled{}}
	m.ended.Go(m.accept)
	t.Cleanup(func() {
		l.Close()
		m.each(func(c net.Conn) { c.Close() })
		m.ended.Wait()
	})
	return m
}

func (m *meddler) url() string { return "nats://" + m.Addr().String() }

func (m *meddler) each(do func(net.Conn)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.conns {
		do(c)
	}
}

func (m *meddler) accept() {
	for {
		worker, err := m.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", m.nats)
		if err != nil {
			worker.Close()
			return
		}
		m.mu.Lock()
		m.conns = append(m.conns, worker, server)
		m.mu.Unlock()
		m.ended.Go(func() { m.pass(worker, server) })
		m.ended.Go(func() { m.pass(server, worker) })
	}
}

// pass passes on until either side ends.
func (m *meddler) pass(from, to net.Conn) {
	defer to.Close()
	var held []byte
	for in := bufio.NewReader(from); ; {
		message, err := next(in)
		if err != nil {
			return
		}
		then := held
		if held = nil; m.chosen(message) {
			message, held = m.tamper(message)
		}
		if _, err := to.Write(append(bytes.Clone(message), then...)); err != nil {
			return
		}
	}
}

// next reads a line of NATS's protocol, with the payload that it announces.
func next(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	words := published(line)
	if words == nil {
		return line, nil
	}
	size, err := strconv.Atoi(words[len(words)-1])
	if err != nil {
		return nil, err
	}
	payload := make([]byte, size+2)
	_, err = io.ReadFull(in, payload)
	return append(line, payload...), err
}

// published are the words of the line with which a message begins: the verb, the subject, and at last the size. Nil is
// for any other line.
func published(line []byte) []string {
	words := strings.Fields(string(line))
	if len(words) < 3 || !slices.Contains([]string{"PUB", "HPUB", "MSG", "HMSG"}, words[0]) {
		return nil
	}
	return words
}

// chosen reports whether a message is the one to tamper with, of those of its stream.
func (m *meddler) chosen(message []byte) bool {
	words := published(message[:bytes.IndexByte(message, '\n')])
	if words == nil || !strings.Contains(words[1], ".webg.") && !strings.Contains(words[1], ".webw.") {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.streams[words[1]]
	if s == nil {
		s = &meddled{at: len(m.streams) % deepest}
		m.streams[words[1]] = s
	}
	s.seen++
	if s.seen-1 != s.at {
		return false
	}
	m.tampered++
	return true
}

func (m *meddler) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tampered
}

// errPart is what no client may ever see: a response that ends as if it were whole, and is not.
var errPart = errors.New("a response that is not what was sent looks whole")

// through sends a body through the module and back. It reports whether it came back.
func (s *site) through(ctx context.Context, body []byte) (whole bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.front.URL+"/f/pipe", struct{ io.Reader }{bytes.NewReader(body)})
	if err != nil {
		return false, err
	}
	rsp, err := s.front.Client().Do(r)
	if err != nil {
		return false, ctx.Err() // It was broken, and in time.
	}
	defer rsp.Body.Close()
	got, err := io.ReadAll(rsp.Body)
	switch {
	case err != nil || rsp.StatusCode != http.StatusOK:
		return false, ctx.Err()
	case !bytes.Equal(got, body):
		return false, errPart
	}
	return true, nil
}

func TestWebFramesThatAreTamperedWith(t *testing.T) {
	t.Parallel()
	for name, tamper := range tampers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, bus.Options{}, "faulty")
			m := meddle(t, s.url, tamper)
			s.startAt(t, m.url(), t.TempDir())
			const requests = 3 * deepest
			results := make(chan bool, requests)
			var asking sync.WaitGroup
			for range requests {
				asking.Go(func() {
					whole, err := s.through(t.Context(), noise(400_000))
					if err != nil {
						t.Error(err)
					}
					results <- whole
				})
			}
			asking.Wait()
			close(results)
			broken := 0
			for whole := range results {
				if !whole {
					broken++
				}
			}
			t.Logf("%d frames of %d requests were %s; %d came back whole, %d broke", m.count(), requests, name, requests-broken, broken)
			if m.count() < requests || broken == 0 {
				t.Errorf("nothing was tried: %d frames were %s, %d requests broke", m.count(), name, broken)
			}
		})
	}
}

// noise is what no two parts of are alike.
func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}
