// Package news_test counts news under faults: each piece of which a homeserver was told that it is stored must be told to the
// module, in order.
package news_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
)

const (
	program = "integration/testbed/testdata/archive"
	path    = "/_modulebus/v1/ask/third_party_rules/on_profile_update"
	archive = `
modules:
  - module: archive
    deliver: at_least_once
    callbacks: {on_profile_update: {on_failure: fail}}
`
	users = 16
)

// pieces is how many pieces of news there are: few, or as many as make news says.
func pieces(t *testing.T) int {
	t.Helper()
	text := os.Getenv("MODULEBUS_NEWS")
	if text == "" {
		return 200 * users
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n / users * users
}

// run is a homeserver that tells its news through whichever busd there is, and the files with what became of it.
type run struct {
	*testing.T
	stored, told string
	mu           sync.Mutex
	url          string // of busd's HTTP door
	client       *http.Client
}

func newRun(t *testing.T) *run {
	t.Helper()
	dir := t.TempDir()
	r := &run{
		T: t, stored: filepath.Join(dir, "stored"), told: filepath.Join(dir, "told"),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: users}, Timeout: 10 * time.Second},
	}
	t.Cleanup(r.client.CloseIdleConnections)
	testbed.Write(t, r.told, "")
	return r
}

// at has the homeserver ask there from now on.
func (r *run) at(url string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.url = url
}

// yes reports whether the homeserver was told that a piece is stored.
func (r *run) yes(user string, n int) bool {
	r.mu.Lock()
	url := r.url
	r.mu.Unlock()
	body := fmt.Sprintf(`{"user_id": %q, "new_profile": {"display_name": "%d"}}`, user, n)
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, url+path, strings.NewReader(body))
	if err != nil {
		return false
	}
	rsp, err := r.client.Do(req)
	if err != nil {
		return false
	}
	defer rsp.Body.Close()
	var d struct {
		Failures []json.RawMessage `json:"failures"`
	}
	return json.NewDecoder(rsp.Body).Decode(&d) == nil && rsp.StatusCode == http.StatusOK && len(d.Failures) == 0
}

// tell tells all news, each user's piece by piece, until each is stored. It returns at once; done is closed at the end.
func (r *run) tell(all int) (done <-chan struct{}) {
	r.Helper()
	file, err := os.Create(r.stored)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { file.Close() })
	over := make(chan struct{})
	var telling sync.WaitGroup
	for u := range users {
		telling.Go(func() {
			user := fmt.Sprintf("@user%d:example.com", u)
			for n := 0; n < all/users && r.Context().Err() == nil; {
				if !r.yes(user, n) {
					<-time.After(20 * time.Millisecond)
					continue
				}
				fmt.Fprintln(file, user, n)
				n++
			}
		})
	}
	go func() { telling.Wait(); close(over) }()
	return over
}

// verify waits until all is told and nothing is kept any more, as long as a test waits, and counts.
func (r *run) verify(d *testbed.Daemon, all int) {
	r.Helper()
	for deadline := time.Now().Add(testbed.Patience); time.Now().Before(deadline) && len(check(r.T, r.stored, r.told).lost) > 0; {
		testbed.Pause(r.T)
	}
	testbed.Eventually(r.T, "nothing is kept", func() bool { return waiting(d) == 0 })
	f := check(r.T, r.stored, r.told)
	if f.stored != all || len(f.lost) > 0 || len(f.disorder) > 0 || len(f.renamed) > 0 {
		r.Errorf("of %d pieces %d are lost (%.200v), %d told out of order (%.200v), %d have another's name",
			f.stored, len(f.lost), f.lost, len(f.disorder), f.disorder, len(f.renamed))
	}
	r.Logf("%d pieces stored, %d lost, %d told again with the same name", f.stored, len(f.lost), f.repeated)
}

// waiting is how much is kept; -1 where that is not known.
func waiting(d *testbed.Daemon) int {
	_, out, err := d.Try("GET", "/_modulebus/v1/modules", nil)
	var list struct {
		Modules []struct {
			News *struct{ Waiting int }
		}
	}
	if err != nil || json.Unmarshal(out, &list) != nil || len(list.Modules) == 0 || list.Modules[0].News == nil {
		return -1
	}
	return list.Modules[0].News.Waiting
}

func (r *run) worker(env []string) *testbed.Process {
	r.Helper()
	return testbed.Command(r.T, program).With(env...).With("ARCHIVE=" + r.told).Start()
}

func TestNewsOutlivesKilledWorkersAndKilledBusd(t *testing.T) {
	t.Parallel()
	r, all := newRun(t), pieces(t)
	d := testbed.PrepareAt(t, testbed.FreeAddress(t), archive)
	d.Start()
	d = d.Announced()
	r.at(d.URL)
	env := d.Environment("archive")
	workers := []*testbed.Process{r.worker(env), r.worker(env)}
	done := r.tell(all)
	for round := 0; !over(done, 300*time.Millisecond); round++ {
		switch round % 5 {
		case 0, 1, 2: // A worker is killed, and another one comes.
			workers[round%2].Kill()
			workers[round%2] = r.worker(env)
		case 3: // The module is away.
			workers[0].Kill()
			workers[1].Kill()
			over(done, time.Second)
			workers = []*testbed.Process{r.worker(env), r.worker(env)}
		case 4: // busd is killed, which may have been about to answer.
			d.Kill()
			d = d.Again()
			r.at(d.URL)
		}
	}
	r.verify(d, all)
}

// over waits a while for the end of the telling, and reports whether it has come.
func over(done <-chan struct{}, most time.Duration) bool {
	select {
	case <-done:
		return true
	case <-time.After(most):
		return false
	}
}

func TestNewsOutlivesANodeOfNATS(t *testing.T) {
	t.Parallel()
	r, all := newRun(t), pieces(t)
	home := natstest.Configured(t, "")
	d := testbed.Serve(t, "state_dir: '"+t.TempDir()+"'\nnats: {url: '"+home.URL()+"', replicas: 3}\n"+archive)
	r.at(d.URL)
	env := d.Environment("archive")
	worker := r.worker(env)
	done := r.tell(all)
	testbed.Eventually(t, "some is told", func() bool { return d.Measured("modulebus_news_handled_total") > 100 })
	home.Servers[0].Shutdown()
	worker.Kill()
	r.worker(env)
	for !over(done, time.Second) {
		t.Logf("%d pieces wait", waiting(d))
	}
	r.verify(d, all)
}

// disk is a small file system, which only root can make.
func disk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m,mode=0700"); err != nil {
		t.Skip("only root can make a file system of its own: ", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestNewsGoesOnWhenTheDiskOfALeaderIsFull has three servers with small disks. Another one leads when the leader's is full.
func TestNewsGoesOnWhenTheDiskOfALeaderIsFull(t *testing.T) {
	t.Parallel()
	r, all, disks := newRun(t), 40*users, []string{disk(t), disk(t), disk(t)}
	home := natstest.Configured(t, "", disks...)
	soon := strings.Replace(archive, "deliver:", "timeout: 1s\n    deliver:", 1)
	d := testbed.Serve(t, "state_dir: '"+t.TempDir()+"'\nnats: {url: '"+home.URL()+"', replicas: 3}\n"+soon)
	r.at(d.URL)
	r.worker(d.Environment("archive"))
	leads := func(s *server.Server) bool {
		return s.JetStreamIsStreamLeader("$G", "modulebus-news-example_2Ecom-archive")
	}
	testbed.Eventually(t, "a server leads", func() bool { return slices.IndexFunc(home.Servers, leads) >= 0 })
	first := slices.IndexFunc(home.Servers, leads)
	if err := os.WriteFile(filepath.Join(disks[first], "full"), make([]byte, 32<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	done := r.tell(all)
	testbed.Eventually(t, "another server leads", func() bool {
		next := slices.IndexFunc(home.Servers, leads)
		return next >= 0 && next != first
	})
	for !over(done, time.Second) {
		t.Logf("%d pieces wait", waiting(d))
	}
	r.verify(d, all)
}

func TestNewsThatADiskHasNoRoomForIsRefused(t *testing.T) {
	t.Parallel()
	r, dir := newRun(t), disk(t)
	d := testbed.Prepare(t, "state_dir: '"+dir+"/state'\nnats: {listen: '"+testbed.FreeAddress(t)+"'}\n"+archive)
	d.Start()
	d = d.Announced()
	r.at(d.URL)
	for n := range 100 {
		if !r.yes("@a:example.com", n) {
			t.Fatalf("piece %d is not stored", n)
		}
	}
	full := filepath.Join(dir, "full")
	if err := os.WriteFile(full, make([]byte, 32<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	n := 100
	testbed.Eventually(t, "a piece is refused", func() bool {
		if r.yes("@a:example.com", n) {
			n++
			return false
		}
		return true
	})
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	d.Kill()
	d = d.Again()
	r.worker(d.Environment("archive"))
	var stored strings.Builder
	for i := range n {
		fmt.Fprintln(&stored, "@a:example.com", i)
	}
	testbed.Write(t, r.stored, stored.String())
	r.verify(d, n)
}
