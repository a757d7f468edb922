package restarts_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	callback = "spam_checker.user_may_create_room"
	patience = time.Minute // for anything that must happen
)

// listed is a module on the operator's list, with what the operator says of it.
type listed struct {
	name, policy string
	named        bool // the callback stands under its callbacks
	run          bool // busd runs it
	workers      int  // that run elsewhere
	later        bool // it is not listed from the start
}

var modules = []listed{
	{name: "named", policy: "refuse", named: true, workers: 1},
	{name: "kept", policy: "fail", workers: 2},
	{name: "child", policy: "refuse", run: true},
	{name: "loose", policy: "skip", workers: 1},
	{name: "late", policy: "refuse", workers: 1, later: true},
	{name: "later", policy: "skip", workers: 1, later: true},
}

// stage is one round's: NATS, one or two busd, and the modules.
type stage struct {
	*testing.T
	address string   // of NATS
	nats    *process // nil where it is inside busd
	busds   []*daemon
	workers map[string][]*process
	refused map[string]bool // modules whose configuration is one that they refuse
	listing map[string]*listing
	salt    int // which makes one configuration differ from the next

	// guesses is whether busd cannot know what modules want: those that it never heard of.
	guesses atomic.Bool

	client  *http.Client
	users   atomic.Int64
	mu      sync.Mutex
	records []record
	told    []*rosterv1.Roster // over an external NATS
	ears    *nats.Conn         // which hears them
	stop    chan struct{}
	owned   sync.WaitGroup
}

// daemon is one busd.
type daemon struct {
	*process
	config, url, listen string
	empty               bool // its disk
	behind              bool // a module was listed while it did not run
	up                  atomic.Bool
}

// listing is whether a module is on the list, as far as the operator knows.
type listing struct {
	listed  bool
	changes int  // how often it came and went
	settled bool // all busd that run, and all who ask, know the last change
}

func newStage(t *testing.T, external bool, busds int) *stage {
	t.Helper()
	s := &stage{
		T: t, workers: map[string][]*process{}, refused: map[string]bool{}, listing: map[string]*listing{}, stop: make(chan struct{}),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
	}
	s.guesses.Store(true)
	for _, m := range modules {
		s.listing[m.name] = &listing{listed: !m.later}
	}
	if external {
		s.address = testbed.FreeAddress(t)
		s.startNATS()
		s.overhear()
	} else {
		s.address = testbed.FreeAddress(t)
	}
	for i := range busds {
		d := &daemon{config: filepath.Join(t.TempDir(), fmt.Sprintf("busd-%d.yaml", i)), listen: testbed.FreeAddress(t), empty: true}
		d.url = "http://" + d.listen
		s.busds = append(s.busds, d)
	}
	s.configure()
	for _, d := range s.busds {
		s.startBusd(d)
	}
	for _, m := range modules {
		for range m.workers {
			s.startWorker(m.name)
		}
	}
	for _, d := range s.busds {
		s.owned.Go(func() { s.ask(d) })
		s.owned.Go(func() { s.ask(d) })
	}
	s.owned.Go(s.observe)
	return s
}

// startNATS starts the external server, again where it was before.
func (s *stage) startNATS() {
	s.Helper()
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		s.Fatal(err)
	}
	s.nats = start(s.T, "nats", portVariable+"="+port)
}

// overhear takes down the rosters that homeservers are told, to say what was known when a decision was wrong.
func (s *stage) overhear() {
	s.Helper()
	s.await("NATS is there", func() (there bool) {
		var err error
		s.ears, err = connect("nats://"+s.address, "ears", "1")
		return err == nil
	})
	_, err := s.ears.Subscribe(subjects.For(serverName).RosterChanged(), func(m *nats.Msg) {
		r := &rosterv1.Roster{}
		if proto.Unmarshal(m.Data, r) == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told = append(s.told, r)
		}
	})
	if err != nil {
		s.Fatal(err)
	}
}

// rosterOf is the roster that a decision says it was made by, as far as it was heard of.
func (s *stage) rosterOf(revision uint64) string {
	var text strings.Builder
	for _, r := range s.told {
		if r.GetRevision() == revision {
			for _, m := range r.GetModules() {
				fmt.Fprintf(&text, "; %s has workers %v and is asked %v", m.GetName(), m.GetWorkers(), m.GetCallbacks())
			}
		}
	}
	return text.String()
}

// configure writes the files of all busd, and has those that run read them.
func (s *stage) configure() {
	s.Helper()
	s.salt++
	for _, d := range s.busds {
		if err := os.WriteFile(d.config, []byte(s.file(d)), 0o600); err != nil {
			s.Fatal(err)
		}
		if d.up.Load() && d.runs() {
			_ = d.cmd.Process.Signal(syscall.SIGHUP)
		}
	}
}

// list puts a module on the list, or takes it off.
func (s *stage) list(module string, listed bool) {
	s.Helper()
	s.mu.Lock()
	l := s.listing[module]
	same := l.listed == listed
	if !same {
		l.listed, l.settled = listed, false
		l.changes++
	}
	s.mu.Unlock()
	if same {
		return
	}
	for _, d := range s.busds {
		d.behind = d.behind || !d.up.Load()
	}
	s.configure()
}

func (s *stage) isListed(module string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listing[module].listed
}

// certain are the modules of which it is certain whether they are on the list, and how often that has changed.
func (s *stage) certain() map[string]listing {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]listing{}
	for name, l := range s.listing {
		if l.settled {
			all[name] = *l
		}
	}
	return all
}

// settle notes that the changes that there were are known everywhere.
func (s *stage) settle(changes map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, l := range s.listing {
		l.settled = l.settled || l.changes == changes[name]
	}
}

func (s *stage) changes() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]int{}
	for name, l := range s.listing {
		all[name] = l.changes
	}
	return all
}

func (s *stage) file(d *daemon) string {
	where := "listen: " + s.address
	if s.nats != nil {
		where = "url: nats://" + s.address
	}
	var text strings.Builder
	fmt.Fprintf(&text, "server_name: %s\nstate_dir: %s\nnats: {%s}\nhttp: {listen: %s}\nmodules:\n", serverName, d.config+".state", where, d.listen)
	for _, m := range modules {
		if !s.isListed(m.name) {
			continue
		}
		key := "deny"
		if s.refused[m.name] {
			key = "denny"
		}
		fmt.Fprintf(&text, "  - module: %s\n    timeout: 500ms\n    config: {%s: \"%d\"}\n", m.name, key, s.salt)
		if m.named {
			fmt.Fprintf(&text, "    callbacks: {%s: {on_failure: %s}}\n", callback[strings.Index(callback, ".")+1:], m.policy)
		} else {
			fmt.Fprintf(&text, "    on_failure: %s\n", m.policy)
		}
		if m.run {
			fmt.Fprintf(&text, "    run: [env, %s=module, %s]\n", roleVariable, quoted(executable(s.T)))
		}
	}
	return text.String()
}

// startBusd starts a busd, and returns when it answers over HTTP. One that starts with nothing to remember, while no other
// runs that could tell it, can only guess.
func (s *stage) startBusd(d *daemon) {
	s.Helper()
	if (d.empty || d.behind) && !slices.ContainsFunc(s.busds, func(o *daemon) bool { return o.up.Load() && !o.paused }) {
		s.guesses.Store(true)
	}
	d.process, d.empty, d.behind = start(s.T, "busd", configVariable+"="+d.config), false, false
	s.await("busd answers", func() bool {
		status, _ := s.get(d.url + "/healthz")
		return status != 0 || !d.runs()
	})
	d.up.Store(true)
}

func (s *stage) endBusd(d *daemon, signal os.Signal) {
	d.up.Store(false)
	d.end(signal)
}

// wipe empties a busd's disk, but for its keys: the operator has them from a backup.
func (s *stage) wipe(d *daemon) {
	s.Helper()
	all, err := filepath.Glob(d.config + ".state/*")
	if err != nil {
		s.Fatal(err)
	}
	for _, path := range all {
		if path == identity.In(d.config+".state") {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			s.Fatal(err)
		}
	}
	d.empty = true
}

func (s *stage) startWorker(module string) {
	s.Helper()
	env := []string{"MODULEBUS_NATS_URL=nats://" + s.address, "MODULEBUS_MODULE=" + module}
	if s.nats == nil {
		env = append(env, "MODULEBUS_CREDENTIALS="+s.credentials(module))
	}
	s.workers[module] = append(s.workers[module], start(s.T, "module", env...))
}

// credentials are a file with what lets the module into the NATS inside busd.
func (s *stage) credentials(module string) string {
	s.Helper()
	state := s.busds[0].config + ".state"
	keys, err := identity.Open(identity.In(state), serverName)
	if err != nil {
		s.Fatal(err)
	}
	text, err := keys.Credentials(identity.Module(module))
	if err != nil {
		s.Fatal(err)
	}
	file := filepath.Join(s.TempDir(), module+".creds")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		s.Fatal(err)
	}
	return file
}

// endWorker ends one worker of the module, if there is any.
func (s *stage) endWorker(module string, signal os.Signal) {
	if all := s.workers[module]; len(all) > 0 {
		all[0].end(signal)
		s.workers[module] = all[1:]
	}
}

func (s *stage) get(url string) (status int, body []byte) {
	resp, err := s.client.Get(url)
	if err != nil {
		return 0, nil
	}
	defer func() { _ = resp.Body.Close() }()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		return 0, nil
	}
	return resp.StatusCode, body
}

func (s *stage) await(what string, is func() bool) {
	s.Helper()
	await(s.T, what, is)
}

// await waits until it is so.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline, ticker := time.Now().Add(patience), time.NewTicker(5*time.Millisecond)
	defer ticker.Stop()
	for !is() {
		if <-ticker.C; time.Now().After(deadline) {
			t.Fatalf("gave up waiting until %s", what)
		}
	}
}

// observe notes when all busd that run know what all modules want, and go by it.
func (s *stage) observe() {
	for {
		select {
		case <-s.stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
		if changes := s.changes(); (s.guesses.Load() || len(s.certain()) < len(modules)) && s.known() {
			s.guesses.Store(false)
			s.settle(changes)
		}
	}
}

// told is what a busd tells of a module.
type told struct {
	Name      string
	Order     int
	Callbacks []string
}

// lists reports whether these are the modules on the list, and it is known what they want.
func (s *stage) lists(all []told) bool {
	for _, m := range modules {
		i := slices.IndexFunc(all, func(t told) bool { return t.Name == m.name && t.Order > 0 })
		if listed := s.isListed(m.name); listed != (i >= 0) || listed && len(all[i].Callbacks) == 0 {
			return false
		}
	}
	return true
}

// known reports whether each busd has heard of all modules, and no homeserver goes by an earlier roster.
func (s *stage) known() bool {
	latest, first := uint64(0), uint64(math.MaxUint64)
	for _, d := range s.busds {
		if !d.up.Load() {
			continue
		}
		status, body := s.get(d.url + "/_modulebus/v1/modules")
		var is struct {
			Modules []told
		}
		if status != http.StatusOK || json.Unmarshal(body, &is) != nil || !s.lists(is.Modules) {
			return false
		}
		latest = max(latest, s.kept(d))
	}
	for _, d := range s.busds {
		if d.up.Load() {
			first = min(first, s.asked(d))
		}
	}
	return latest > 0 && first >= latest
}

// kept is the revision of the roster that a busd keeps.
func (s *stage) kept(d *daemon) uint64 {
	_, body := s.get(d.url + "/metrics")
	_, line, _ := strings.Cut(string(body), "\nmodulebus_roster_revision ")
	line, _, _ = strings.Cut(line, "\n")
	revision, _ := strconv.ParseFloat(line, 64)
	return uint64(revision)
}

// close ends the round.
func (s *stage) close() {
	close(s.stop)
	s.owned.Wait()
	for _, d := range s.busds {
		s.endBusd(d, syscall.SIGKILL)
	}
	for module, all := range s.workers {
		for range all {
			s.endWorker(module, syscall.SIGKILL)
		}
	}
	s.client.CloseIdleConnections()
	if s.nats != nil {
		s.ears.Close()
		s.nats.end(syscall.SIGKILL)
	}
}
