package testbed

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Daemon is busd as a process.
type Daemon struct {
	*Process
	*Caller
	File     string // its configuration
	Announce string // its first line
	NATS     string // where its NATS is
	Guarded  bool   // whether its NATS is an external one that knows its users
}

var whereabouts = regexp.MustCompile(`HTTP at (\S+), NATS at ([^;\s]+)`)

// Serve starts busd with the configuration, and waits for its announcement. Where the configuration says nothing of
// NATS and HTTP, both are on free ports.
func Serve(t *testing.T, config string, args ...string) *Daemon {
	t.Helper()
	d := Prepare(t, config, args...)
	d.Start()
	return d.Announced()
}

// Prepare is Serve without the start: for a busd that must not announce anything, or not yet.
func Prepare(t *testing.T, config string, args ...string) *Daemon {
	t.Helper()
	file := filepath.Join(t.TempDir(), "busd.yaml")
	Write(t, file, complete(config))
	args = append([]string{"serve", "--config", file}, args...)
	return &Daemon{Process: Command(t, Busd, args...), Caller: Call(t, ""), File: file}
}

// PrepareAt is Prepare for a busd with NATS inside at an address of the test's choice, and with state that outlives it: its
// workers can be started before it, and it again after it.
func PrepareAt(t *testing.T, address, config string) *Daemon {
	t.Helper()
	d := Prepare(t, "state_dir: '"+t.TempDir()+"'\nnats: {listen: '"+address+"'}\n"+config)
	d.NATS = "nats://" + address
	return d
}

// Again starts such a busd with its file once more, after it has ended.
func (d *Daemon) Again() *Daemon {
	d.Helper()
	next := &Daemon{Process: Command(d.T, Busd, "serve", "--config", d.File), Caller: Call(d.T, ""), File: d.File}
	next.Start()
	return next.Announced()
}

// complete fills in what most tests do not care for.
func complete(config string) string {
	for key, text := range map[string]string{
		"server_name:": "server_name: example.com\n", "nats:": "nats: {listen: '127.0.0.1:0'}\n", "http:": "http: {listen: '127.0.0.1:0'}\n",
	} {
		if !strings.HasPrefix(config, key) && !strings.Contains(config, "\n"+key) {
			config = text + config
		}
	}
	return config
}

// Edit replaces a text of the configuration file by another one.
func (d *Daemon) Edit(old, replacement string) {
	d.Helper()
	text, err := os.ReadFile(d.File)
	if err != nil {
		d.Fatal(err)
	}
	Write(d.T, d.File, strings.ReplaceAll(string(text), old, replacement))
}

// Announced waits for the line that busd prints when it has started, and reads from it where HTTP and NATS are.
func (d *Daemon) Announced() *Daemon {
	d.Helper()
	d.Announce = d.Stdout.Line(d.T, "busd: ")
	m := whereabouts.FindStringSubmatch(d.Announce)
	if m == nil {
		d.Fatalf("%q does not say where busd is", d.Announce)
	}
	d.URL, d.NATS = m[1], m[2]
	return d
}

// Reconfigure changes the configuration file, as an editor would: at once.
func (d *Daemon) Reconfigure(config string) {
	d.Helper()
	Write(d.T, d.File+".new", complete(config))
	if err := os.Rename(d.File+".new", d.File); err != nil {
		d.Fatal(err)
	}
}

// Worker starts a worker of a module that busd does not run.
func (d *Daemon) Worker(name, module string, env ...string) *Process {
	d.Helper()
	return Command(d.T, name).With(d.Environment(module)...).With(env...).Start()
}

// Worker starts a worker of a module, of the server example.com, at this NATS.
func Worker(t *testing.T, nats, name, module string, env ...string) *Process {
	t.Helper()
	return Command(t, name).With(environment(nats, module)...).With(env...).Start()
}

// Run runs one of busd's other commands.
func Run(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return Command(t, Busd, args...).Run()
}

// Measured is the sum of a metric's samples.
func (d *Daemon) Measured(name string) (sum float64) {
	d.Helper()
	_, out := d.Request("GET", "/metrics", nil)
	found := false
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		if len(words) != 2 || words[0] != name && !strings.HasPrefix(words[0], name+"{") {
			continue
		}
		n, err := strconv.ParseFloat(words[1], 64)
		if err != nil {
			d.Fatal(err)
		}
		sum, found = sum+n, true
	}
	if !found {
		d.Fatalf("busd has no metric %s", name)
	}
	return sum
}
