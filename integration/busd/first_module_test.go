//go:build integration

package busd_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

var fence = regexp.MustCompile("(?ms)^```(\\w+)(?: [^\n]*)?\n(.*?)^```$")

// firstModule is what docs/first-module.md says below a heading, by the language of its blocks.
func firstModule(t *testing.T, heading string) map[string]string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(testbed.Root, "docs/first-module.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(page), "\n"+heading+"\n")
	if !found {
		t.Fatalf("the page has no %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	blocks := map[string]string{}
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		blocks[m[1]] += m[2]
	}
	return blocks
}

// folder is an author's, in which what the page has installed is there without the network.
type folder struct {
	t    *testing.T
	dir  string
	root string
}

func newFolder(t *testing.T) folder {
	t.Helper()
	root, err := filepath.Abs(testbed.Root)
	if err != nil {
		t.Fatal(err)
	}
	f := folder{t, t.TempDir(), root}
	f.link(testbed.Program(t, testbed.Busd), "busd")
	return f
}

func (f folder) link(to, name string) {
	f.t.Helper()
	if err := os.Symlink(to, filepath.Join(f.dir, name)); err != nil {
		f.t.Fatal(err)
	}
}

// python has venv/bin/python be the Python of the tests, with the kit or without it.
func (f folder) python(kit string) {
	f.t.Helper()
	if err := os.MkdirAll(filepath.Join(f.dir, "venv/bin"), 0o700); err != nil {
		f.t.Fatal(err)
	}
	program := filepath.Join(f.dir, "venv/bin/python")
	testbed.Write(f.t, program, "#!/bin/sh\nPYTHONPATH='"+kit+"' exec '"+testbed.Python(f.t)+"' \"$@\"\n")
	if err := os.Chmod(program, 0o700); err != nil {
		f.t.Fatal(err)
	}
}

func (f folder) process(command string) *testbed.Process {
	f.t.Helper()
	p := testbed.Execute(f.t, "bash", "-c", command)
	p.Cmd.Dir = f.dir
	return p
}

// types does what the command says, and returns what it prints.
func (f folder) types(command string) string {
	f.t.Helper()
	switch command {
	case "python3 -m venv venv":
	case "venv/bin/pip install ../modulebus/bridges/python":
		f.python(filepath.Join(f.root, "bridges/python"))
	case "venv/bin/pip install 'nats-py[nkeys]'":
		f.python("")
	case "npm install":
		f.link(filepath.Join(testbed.Setting(f.t, "MODULEBUS_GATE_PACKAGES"), "node_modules"), "node_modules")
	default:
		status, stdout, stderr := f.process(strings.ReplaceAll(command, "../modulebus", f.root)).Run()
		if status != 0 {
			f.t.Errorf("%s: status %d\n%s%s", command, status, stdout, stderr)
		}
		return stdout
	}
	return ""
}

// firstModules are the modules of docs/first-module.md: the command that starts each, by the heading of its section.
var firstModules = map[string]string{
	"## In Python, with the kit": "venv/bin/python module.py",
	"## In Python, without it":   "venv/bin/python module.py",
	"## In JavaScript":           "node gate.mjs",
}

// TestFirstModuleIsCorrectAndRefuses does what docs/first-module.md says, in an empty folder for each language.
func TestFirstModuleIsCorrectAndRefuses(t *testing.T) {
	t.Parallel()
	verdict := firstModule(t, "## What busd verify says")["text"]
	running := firstModule(t, "## Running it")
	serve, ask, _ := strings.Cut(strings.TrimSpace(running["shell"]), "\n")
	for heading, start := range firstModules {
		t.Run(heading, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t)
			var printed string
			for command := range strings.Lines(firstModule(t, heading)["shell"]) {
				printed = f.types(strings.TrimSpace(command))
			}
			if strings.Contains(heading, "with the kit") && !strings.HasSuffix(printed, verdict) {
				t.Errorf("%s\nwant at its end %s", printed, verdict)
			}
			if !strings.Contains(printed, "\nok    refuses-config ") {
				t.Errorf("it refuses no configuration:\n%s", printed)
			}
			list := strings.Replace(running["yaml"], "[venv/bin/python, module.py]", "["+strings.ReplaceAll(start, " ", ", ")+"]", 1)
			testbed.Write(t, filepath.Join(f.dir, "busd.yaml"), list+"nats: {listen: '"+testbed.FreeAddress(t)+
				"'}\nhttp: {listen: '"+testbed.FreeAddress(t)+"'}\n")
			busd := f.process("exec " + serve).Start()
			testbed.Eventually(t, "busd is ready", func() bool { return strings.HasPrefix(busd.Stdout.String(), "busd: ready") })
			if got := f.types(ask); !strings.HasPrefix(got, strings.TrimRight(running["text"], "\n")) {
				t.Errorf("%s prints\n%s", ask, got)
			}
			busd.Stop()
		})
	}
}

// TestExampleSaysWhatItLacks starts the examples as somebody does who has read nothing.
func TestExampleSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	for heading, start := range firstModules {
		t.Run(heading, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t)
			for command := range strings.Lines(firstModule(t, heading)["shell"]) {
				if !strings.HasPrefix(command, "./busd ") {
					f.types(strings.TrimSpace(command))
				}
			}
			status, stdout, stderr := f.process(start).Run()
			if status == 0 || !strings.Contains(stderr, "for those that it verifies") || strings.Contains(stderr, "  at ") || strings.Contains(stderr, "Traceback") {
				t.Errorf("status %d: %s%s", status, stdout, stderr)
			}
		})
	}
}
