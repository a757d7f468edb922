package busd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/identity"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestBusdRunsItsModulesAndAnswers(t *testing.T) {
	t.Parallel()
	r := serve(t, parse(t, stateDir(t), "modules:\n"+entry("gate", "runs", "    workers: 2\n")))
	if !strings.HasPrefix(r.line, "busd: ready: ") || !strings.Contains(r.line, "user_may_create_room") || !strings.Contains(r.log.String(), `"message":"ready"`) {
		t.Errorf("it says %q", r.line)
	}
	if out := r.create("evil"); !strings.Contains(out, "M_FORBIDDEN") || !strings.Contains(out, `"decided_by":"gate"`) {
		t.Errorf("got %s", out)
	}
	if m := r.modules().Modules[0]; m.Workers != 2 || len(m.Processes) != 2 {
		t.Errorf("%+v", m)
	}
	if err := r.stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestConfigurationStaysTheCallers(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	text := "modules:\n" + entry("gate", "runs")
	c := parse(t, dir, text)
	r := serve(t, c)
	r.reload <- busd.Reload{Config: parse(t, dir, "modules:\n"+entry("other", "runs")+"budget: 1s\n")}
	waittest.Until(t, "the other module is there", func() bool { return strings.Contains(r.create("evil"), `"decided_by":"other"`) })
	if want := parse(t, dir, text); !reflect.DeepEqual(c, want) {
		t.Errorf("the configuration was changed to %+v, from %+v", c, want)
	}
}

// What is asked under the old budget is answered under it.
func TestReloadWithAShorterBudgetStopsNoModuleEarlier(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	r := serve(t, parse(t, dir, "modules:\n"+entry("first", "runs")+entry("second", "runs")+"budget: 1h\n"))
	r.reload <- busd.Reload{Config: parse(t, dir, "modules:\n"+entry("second", "runs")+"budget: 1ms\n")}
	r.reload <- busd.Reload{Config: parse(t, dir, "budget: 1ms\n")}
	ended := func(module string) bool {
		return slices.ContainsFunc(strings.Split(r.log.String(), "\n"), func(line string) bool {
			return strings.Contains(line, `"worker ended"`) && strings.Contains(line, `"module":"`+module+`"`)
		})
	}
	waittest.Until(t, "the second has ended", func() bool { return ended("second") })
	if ended("first") {
		t.Error("the first has ended before the budget of what it may have been asked")
	}
}

func TestSecondBusdOnAFolderTouchesNothing(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	r := serve(t, parse(t, dir, ""))
	before := listing(t, dir)
	second, _ := launch(t, parse(t, dir, ""))
	err := second.stop()
	if err == nil || !strings.Contains(err.Error(), "state_dir: "+dir+" is in use by another busd (pid ") {
		t.Errorf("the second ended with %v", err)
	}
	if after := listing(t, dir); after != before {
		t.Errorf("the folder was\n%s\nand is\n%s", before, after)
	}
	if code, _ := r.do("GET", "/healthz", ""); code != 200 {
		t.Errorf("the first is not well: %d", code)
	}
}

// TestStoreDirIsLockedToo has two busd with folders of their own for state, and one store: named by both, or by the second where
// the first has it by itself.
func TestStoreDirIsLockedToo(t *testing.T) {
	t.Parallel()
	with := func(t *testing.T, state, store string) *running {
		t.Helper()
		c := parse(t, state, "")
		c.NATS.StoreDir = store
		r, said := launch(t, c)
		select {
		case <-said:
		default:
		}
		return r
	}
	for name, named := range map[string]bool{"named by both": true, "named by the second": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := stateDir(t)
			store, names := filepath.Join(state, "nats"), ""
			if named {
				store = t.TempDir()
				names = store
			}
			first := with(t, state, names)
			waittest.Until(t, "the first has the store", func() bool {
				_, err := os.Stat(filepath.Join(store, "busd.lock"))
				return err == nil
			})
			if err := with(t, stateDir(t), store).stop(); err == nil || !strings.Contains(err.Error(), "nats.store_dir: "+store+" is in use") {
				t.Errorf("the second ended with %v", err)
			}
			if err := first.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			b.WriteString(path + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRestartedBusdKnowsWhatModulesWanted(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	text := "modules: [{module: gate, on_failure: refuse}]\n"
	first := serve(t, parse(t, dir, text))
	leave := join(first.nats, credentials(t, dir, "gate"), "gate", "1")
	waittest.Until(t, "the module is asked", func() bool { return strings.Contains(first.create("evil"), `"decided_by":"gate"`) })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	leave()
	second := serve(t, parse(t, dir, text))
	if out := second.create("good"); !strings.Contains(out, `"failure":"absent"`) || !strings.Contains(out, "M_FORBIDDEN") {
		t.Errorf("without its module it answers %s", out)
	}
}

func TestBusdEndsWhenNATSIsGoneForGood(t *testing.T) {
	t.Parallel()
	c := parse(t, stateDir(t), "")
	nc := natstest.Connect(t, natstest.InProcess(t))
	ended := make(chan error, 1)
	said := make(chan string, 1)
	go func() {
		ended <- busd.Run(t.Context(), busd.Options{Config: c, Conn: nc, Announce: announcement(said)})
	}()
	<-said
	nc.Close()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "NATS") {
		t.Errorf("it ended with %v", err)
	}
}

func TestReloadIsReported(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	r := serve(t, parse(t, dir, "modules:\n"+entry("a", "runs")+entry("b", "runs")))
	r.reload <- busd.Reload{Config: parse(t, dir, "modules:\n"+entry("b", "runs", "    workers: 2\n")+entry("c", "runs"))}
	waittest.Until(t, "it is taken over", func() bool {
		return strings.Contains(r.log.String(), `"added":["c"],"removed":["a"],"restarted":["b"]`)
	})
	r.reload <- busd.Reload{Err: os.ErrInvalid}
	waittest.Until(t, "the mistake is shown", func() bool { return r.modules().Config.Error != "" })
	if _, out := r.do("GET", "/metrics", ""); !strings.Contains(out, "modulebus_config_last_reload_successful 0") {
		t.Error("the metric tells nothing of it")
	}
	other := parse(t, dir, "modules:\n"+entry("b", "runs", "    workers: 2\n")+entry("c", "runs"))
	other.ServerName = "other.org"
	r.reload <- busd.Reload{Config: other}
	waittest.Until(t, "what needs a restart is shown", func() bool { return len(r.modules().Config.RestartFor) == 1 })
}

// What is written wrong again and again runs once: its processes go when the next are started, and those that answer go on.
func TestReloadsThatBringNoWorkerDoNotAddUp(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	wrong := func(i int) string { return entry("gate", "hangs", fmt.Sprintf("    environment: [TRY%d]\n", i)) }
	r := serve(t, parse(t, dir, "modules:\n"+entry("gate", "runs")))
	for i := range 3 {
		r.reload <- busd.Reload{Config: parse(t, dir, "modules:\n"+wrong(i))}
		waittest.Until(t, "its worker is started", func() bool { return r.log.Count("worker started") == i+2 })
	}
	waittest.Until(t, "what never joined has ended", func() bool { return r.log.Count("worker ended") == 2 })
	if out := r.create("evil"); !strings.Contains(out, "M_FORBIDDEN") {
		t.Errorf("the workers from before answer %s", out)
	}
	r.reload <- busd.Reload{Config: parse(t, dir, "modules:\n"+entry("gate", "runs", "    environment: [GOOD]\n"))}
	waittest.Until(t, "only the last ones are left", func() bool { return r.log.Count("worker ended") == 4 })
	if out := r.create("evil"); !strings.Contains(out, "M_FORBIDDEN") {
		t.Errorf("the new workers answer %s", out)
	}
}

func TestStartThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	taken := strings.TrimPrefix(serve(t, parse(t, stateDir(t), "")).url, "http://")
	for name, tt := range map[string]struct{ key, value, want string }{
		"a port in use":       {"http", taken, "http.listen: cannot listen on " + taken},
		"no NATS":             {"nats", "nats://127.0.0.1:1", "cannot connect to nats.url"},
		"no token of the API": {"homeserver", "nothing", "homeserver.token_file"},
		"a folder in a file":  {"state_dir", filepath.Join(os.Args[0], "below"), "state_dir: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := parse(t, stateDir(t), "")
			switch tt.key {
			case "http":
				c.HTTP.Listen = tt.value
			case "nats":
				c.NATS.URL = tt.value
			case "homeserver":
				c.Homeserver.URL, c.Homeserver.TokenFile = "http://127.0.0.1:1", tt.value
			case "state_dir":
				c.StateDir = tt.value
			}
			r, _ := launch(t, c)
			waittest.Until(t, "it has failed", func() bool { return r.failed() != nil })
			if err := r.stop(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("it ended with %v, want %q", err, tt.want)
			}
		})
	}
}

func TestStopDuringTheStartIsADrain(t *testing.T) {
	t.Parallel()
	r, _ := launch(t, parse(t, stateDir(t), "modules:\n"+entry("slow", "hangs")))
	waittest.Until(t, "its module is started", func() bool { return strings.Contains(r.log.String(), "worker started") })
	if err := r.stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

func TestModuleThatIsNotThereIsAnnounced(t *testing.T) {
	t.Parallel()
	r := serve(t, parse(t, stateDir(t), "modules:\n"+entry("gate", "runs")+"  - module: elsewhere\n"))
	if !strings.Contains(r.line, "running, but not ready: module elsewhere is absent") || !strings.Contains(r.log.String(), "not ready") {
		t.Errorf("it says %q", r.line)
	}
}

// credentials are a file with those of a module of the busd with this state.
func credentials(t *testing.T, stateDir, module string) string {
	t.Helper()
	keys, err := identity.Open(identity.In(stateDir), serverName)
	if err != nil {
		t.Fatal(err)
	}
	text, err := keys.Credentials(identity.Module(module))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), module+".creds")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestModuleAPIIsForwarded(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	c := parse(t, dir, "modules: [{module: gate}]\n")
	c.Homeserver.URL = "http://127.0.0.1:1"
	r := serve(t, c)
	inbox := nats.CustomInboxPrefix(subjects.For(serverName).Inbox("gate", "1"))
	nc, err := nats.Connect(r.nats, nats.UserCredentials(credentials(t, dir, "gate")), inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	m, err := nc.Request("modulebus.example%2Ecom.module.gate.api.is_user_admin", nil, patience)
	if err != nil || m.Header.Get("Nats-Service-Error-Code") == "" {
		t.Errorf("got %v, %v; want an error of the gateway", m, err)
	}
}

func TestStoreInStateDirIsDurable(t *testing.T) {
	t.Parallel()
	dir, at := stateDir(t), subjects.For(serverName)
	r := serve(t, parse(t, dir, "modules: [{module: archive}]\n"))
	nc, err := nats.Connect(r.nats, nats.UserCredentials(credentials(t, dir, "archive")), nats.CustomInboxPrefix(at.Inbox("archive", "w")))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	m, err := nc.Request(at.Store("archive"), nil, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	b := &rosterv1.Bucket{}
	if err := proto.Unmarshal(m.Data, b); err != nil || b.GetName() == "" || !b.GetDurable() {
		t.Errorf("got %v, %v", b, err)
	}
}

// A module that is asked otherwise after a reload is named, though it runs on and is told nothing.
func TestReloadNamesModulesThatAreAskedOtherwise(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	list := func(second string) string { return "modules:\n" + entry("a", "runs") + entry("b", "runs", second) }
	r := serve(t, parse(t, dir, list("")))
	for _, second := range []string{"    shadow: true\n", "    timeout: 3s\n", "    on_failure: skip\n"} {
		r.reload <- busd.Reload{Config: parse(t, dir, list(second))}
		waittest.Until(t, "b is named for "+second, func() bool {
			c := r.modules().Config.Changed
			return c != nil && slices.Equal(c.Changed, []string{"b"}) && !c.Reordered && len(c.Restarted) == 0
		})
	}
	r.reload <- busd.Reload{Config: parse(t, dir, "modules:\n"+entry("b", "runs", "    on_failure: skip\n")+entry("a", "runs"))}
	waittest.Until(t, "the order is another one", func() bool {
		c := r.modules().Config.Changed
		return c.Reordered && len(c.Changed) == 0
	})
}

// As with a config that the module refuses, what ran before goes on.
func TestWorkersGoOnUntilThoseThatReplaceThemHaveJoined(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	r := serveWith(t, busd.Options{Config: parse(t, dir, "modules:\n"+entry("gate", "runs")), JoinPatience: 50 * time.Millisecond})
	refuses := func() bool { return strings.Contains(r.create("evil"), "M_FORBIDDEN") }
	waittest.Until(t, "it refuses", refuses)
	r.reload <- busd.Reload{Config: parse(t, dir, "modules:\n"+entry("gate", "hangs"))}
	waittest.Until(t, "the log says it again and again", func() bool { return r.log.Count("has not joined in time") > 2 })
	if !refuses() {
		t.Error("the old worker is gone")
	}
	if m := r.modules().Modules[0]; !strings.Contains(m.LastError, "has not joined in time") {
		t.Errorf("nobody is told: %+v", m)
	}
	r.reload <- busd.Reload{Config: parse(t, dir, "modules:\n"+entry("gate", "runs", "    workers: 2\n"))}
	waittest.Until(t, "two have joined, and all others ended", func() bool {
		m := r.modules().Modules[0]
		return m.Workers == 2 && r.log.Count("\"worker ended\"") == 2 && refuses()
	})
}

func TestConfigurationChangesWhileProcessesAreAwaited(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	r := serveWith(t, busd.Options{Config: parse(t, dir, "modules:\n"+entry("gate", "runs")), JoinPatience: 50 * time.Millisecond})
	late := func() int { return r.log.Count("has not joined in time") }
	for n := range 3 {
		r.reload <- busd.Reload{Config: parse(t, dir, fmt.Sprintf("modules:\n%s    config: {n: %d}\n", entry("gate", "hangs"), n))}
		waittest.Until(t, "the processes are awaited", func() bool { return late() > n })
	}
	if out := r.create("evil"); !strings.Contains(out, "M_FORBIDDEN") {
		t.Errorf("the old worker is gone: %s", out)
	}
}

// TestProcessThatDoesNotJoinIsStartedAgain has one that lives, so that nothing else starts it again.
func TestProcessThatDoesNotJoinIsStartedAgain(t *testing.T) {
	t.Parallel()
	r := serveWith(t, busd.Options{
		Config: parse(t, stateDir(t), "modules:\n"+entry("gate", "hangs", "    join_timeout: 1s\n    callbacks: {user_may_create_room: {}}\n")),
	})
	waittest.Until(t, "it was ended twice", func() bool { return r.log.Count("was ended by busd: it did not join for") > 1 })
	waittest.Until(t, "operators see it", func() bool {
		m := r.modules().Modules[0]
		return m.Restarts > 1 && strings.Contains(m.LastError, "it did not join for") && len(m.Processes) == 1 && m.Processes[0].Restarts > 1
	})
}
