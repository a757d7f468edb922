//go:build integration

package python_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
)

// site is a busd with a page of a worker that it does not run, and the folder in which it offers the way past NATS.
type site struct {
	*testbed.Daemon
	home   *natstest.Home
	worker *testbed.Process
	temp   string
}

// temporary is a folder with a short name, as paths of sockets have.
func temporary(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mb") //nolint:usetesting // its name is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// newSite has worker and busd find each other on one machine, or not.
func newSite(t *testing.T, near bool) *site {
	t.Helper()
	s := &site{home: natstest.TCP(t), temp: temporary(t)}
	s.Daemon = testbed.Prepare(t, "nats: {url: '"+s.home.URL()+"'}\nmodules: [{module: everything}]\n")
	s.With("TMPDIR=" + s.temp).Start()
	s.Announced()
	temp := s.temp
	if !near {
		temp = temporary(t)
	}
	s.worker = testbed.Execute(t, testbed.Python(t), absolute(t, "integration/python/testdata/everything.py")).With(
		"PYTHONPATH="+absolute(t, "bridges/python"), "MODULEBUS_NATS_URL="+s.home.URL(),
		"MODULEBUS_SERVER_NAME=example.com", "MODULEBUS_MODULE=everything", "TMPDIR="+temp).Start()
	testbed.Eventually(t, "its page is served", func() bool {
		rsp, _ := s.Request(http.MethodGet, page+"/hello", nil)
		return rsp.StatusCode == http.StatusOK
	})
	return s
}

// eachEnd has one side end in each way that it may, with bodies that pass NATS by, and with some that do not.
func eachEnd(t *testing.T, test func(t *testing.T, s *site, signal syscall.Signal)) {
	t.Helper()
	for _, end := range []struct {
		signal syscall.Signal
		near   bool
	}{{syscall.SIGKILL, true}, {syscall.SIGKILL, false}, {syscall.SIGSTOP, true}} {
		t.Run(fmt.Sprint(end.signal, ", nearby ", end.near), func(t *testing.T) {
			t.Parallel()
			test(t, newSite(t, end.near), end.signal)
		})
	}
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// begin has a download and an upload under way. What it returns waits for their ends, which must not look like success.
func (s *site) begin() (ended func()) {
	s.Helper()
	ctx := testbed.Bounded(s.T)
	request := func(method, path string, body io.Reader) *http.Request {
		r, err := http.NewRequestWithContext(ctx, method, s.URL+page+path, body)
		if err != nil {
			s.Fatal(err)
		}
		return r
	}
	uploaded := make(chan string, 1)
	go func() {
		rsp, err := http.DefaultClient.Do(request(http.MethodPost, "/upload", zeros{}))
		if err != nil {
			uploaded <- ""
			return
		}
		_ = rsp.Body.Close()
		uploaded <- rsp.Status
	}()
	rsp, err := http.DefaultClient.Do(request(http.MethodGet, "/download", http.NoBody))
	if err != nil {
		s.Fatal(err)
	}
	if _, err := io.ReadFull(rsp.Body, make([]byte, 5)); err != nil {
		s.Fatal(err)
	}
	s.worker.Stderr.Line(s.T, "upload began")
	return func() {
		n, err := io.Copy(io.Discard, rsp.Body)
		_ = rsp.Body.Close()
		if err == nil {
			s.Errorf("a download that is cut behind %d bytes looks whole", n)
		}
		if status := <-uploaded; status != "" && status[0] != '5' {
			s.Errorf("an upload that never ends: %s", status)
		}
	}
}

func TestLargeBody(t *testing.T) {
	t.Parallel()
	const size = 24 << 20
	body := make([]byte, size)
	_, _ = rand.Read(body)
	sum := sha256.Sum256(body)
	for way, over := range map[string]bool{"nearby": false, "elsewhere": true, "socket removed": true} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, way != "elsewhere")
			if way == "socket removed" {
				sockets, _ := filepath.Glob(filepath.Join(s.temp, "modulebus-*", "*")) // The pattern is right.
				if len(sockets) == 0 {
					t.Fatal("there is no socket")
				}
				for _, socket := range sockets {
					_ = os.Remove(socket)
				}
			}
			_, out := s.Request(http.MethodPost, page+"/upload", body)
			if want := fmt.Sprintf(`{"size":%d,"sha256":"%s"}`, size, hex.EncodeToString(sum[:])); string(out) != want {
				t.Errorf("an upload: %s, want %s", out, want)
			}
			if _, out = s.Request(http.MethodGet, page+"/download", nil); !bytes.Equal(out, make([]byte, 32<<20)) {
				t.Errorf("a download has %d bytes, or others", len(out))
			}
			v, err := s.home.Servers[0].Varz(nil)
			if err != nil {
				t.Fatal(err)
			}
			if passed := v.InBytes > size; passed != over {
				t.Errorf("%d bytes went over NATS", v.InBytes)
			}
		})
	}
}

func TestLargeBodyOfAWorkerThatIsGone(t *testing.T) {
	t.Parallel()
	eachEnd(t, func(t *testing.T, s *site, signal syscall.Signal) {
		ended := s.begin()
		s.worker.Signal(signal)
		ended()
	})
}

func TestLargeBodyOfAGatewayThatIsGone(t *testing.T) {
	t.Parallel()
	eachEnd(t, func(t *testing.T, s *site, signal syscall.Signal) {
		ended := s.begin()
		s.Signal(signal)
		s.worker.Stderr.Line(t, "upload ended")
		s.worker.Stderr.Line(t, "download ended")
		if signal == syscall.SIGSTOP {
			s.Signal(syscall.SIGCONT)
		}
		ended()
	})
}

func TestLargeBodyOfAWorkerThatEndsIsWhole(t *testing.T) {
	t.Parallel()
	s := newSite(t, true)
	rsp, err := http.Get(s.URL + page + "/download")
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	s.worker.Signal(syscall.SIGTERM)
	if n, err := io.Copy(io.Discard, rsp.Body); n != 32<<20 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if status := s.worker.Wait(); status != 0 {
		t.Errorf("it ended with status %d", status)
	}
}
