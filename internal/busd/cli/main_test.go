package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// moduleVariable is set in the environment of a process that is a module, and not the tests.
const moduleVariable = "MODULE_OF_TEST"

func TestMain(m *testing.M) {
	if os.Getenv(moduleVariable) != "" && len(os.Args) == 1 {
		modulekit.Main(modulekit.Module[settings]{Version: "1.2.3", New: newGate})
	}
	os.Setenv(moduleVariable, "1")
	goleak.VerifyTestMain(m)
}

// settings have users in them, with commas between them. Those that are slow are denied after a while.
type settings struct {
	Deny string `json:"deny"`
	Slow string `json:"slow"`
}

// slowTime is how long an answer about users that are slow takes.
const slowTime = 5 * time.Second

func newGate(s settings, api *modulekit.ModuleAPI) error {
	api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{UserMayCreateRoom: s.userMayCreateRoom})
	return nil
}

func (s settings) userMayCreateRoom(
	ctx context.Context, req *callbacksv1.UserMayCreateRoomRequest,
) (*callbacksv1.UserMayCreateRoomResponse, error) {
	has := func(list string) bool {
		return list != "" && slices.Contains(strings.Split(list, ","), req.GetUserId())
	}
	if has(s.Slow) {
		select {
		case <-time.After(slowTime):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if has(s.Slow) || has(s.Deny) {
		return &callbacksv1.UserMayCreateRoomResponse{Refusal: modulekit.Refuse("M_FORBIDDEN", "no")}, nil
	}
	return nil, nil
}

// result is what a command did.
type result struct {
	status      int
	out, errors string
}

func run(t *testing.T, args ...string) result {
	t.Helper()
	return runWith(t, "", args...)
}

func runWith(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var out, errors bytes.Buffer
	status := Execute(t.Context(), args, Streams{In: strings.NewReader(stdin), Out: &out, Err: &errors})
	return result{status, out.String(), errors.String()}
}

// wants fails the test unless the command ended so, and said all of that on stdout and on stderr.
func (r result) wants(t *testing.T, status int, out, errors []string) {
	t.Helper()
	if r.status != status {
		t.Errorf("status %d, want %d", r.status, status)
	}
	for _, s := range out {
		if !strings.Contains(r.out, s) {
			t.Errorf("%q is not in stdout:\n%s", s, r.out)
		}
	}
	for _, s := range errors {
		if !strings.Contains(r.errors, s) {
			t.Errorf("%q is not in stderr:\n%s", s, r.errors)
		}
	}
}

func write(t *testing.T, text string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "busd.yaml")
	rewrite(t, file, text)
	return file
}

func rewrite(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// gate is an entry for the module of this program.
func gate(config string) string {
	program, _ := json.Marshal(os.Args[0])
	return "  - module: gate\n    run: [" + string(program) + "]\n    environment: [" + moduleVariable + "]\n    config: " + config + "\n"
}

// base is a configuration without its modules, whose files are of the test.
func base(t *testing.T) string {
	t.Helper()
	return "server_name: example.com\nstate_dir: " + t.TempDir() + "\nnats: {listen: '127.0.0.1:0'}\nhttp: {listen: '127.0.0.1:0'}\nmodules:\n"
}

// find waits until the text matches, and returns the groups.
func find(t *testing.T, l *waittest.Log, pattern string) (groups []string) {
	t.Helper()
	wanted := regexp.MustCompile(pattern)
	waittest.Until(t, pattern+" is written", func() bool {
		groups = wanted.FindStringSubmatch(l.String())
		return groups != nil
	})
	return groups
}

// serving is busd under way.
type serving struct {
	url, file string
	out, log  *waittest.Log
}

// start serves the modules until the test ends.
func start(t *testing.T, modules string) *serving {
	t.Helper()
	s := &serving{file: write(t, base(t)+modules), out: new(waittest.Log), log: new(waittest.Log)}
	ctx, cancel := context.WithCancel(context.Background())
	status := make(chan int, 1)
	go func() {
		status <- Execute(ctx, []string{"serve", "-c", s.file, "--log-format", "json"}, Streams{Out: s.out, Err: s.log})
	}()
	t.Cleanup(func() {
		cancel()
		if got := <-status; got != exitOK {
			t.Errorf("busd serve ended with status %d:\n%s", got, s.log)
		}
	})
	s.url = find(t, s.out, `HTTP at (\S+),`)[1]
	return s
}
