package busd_test

import (
	"maps"
	"net"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v4"

	"github.com/modulebus/modulebus/integration/testbed"
)

// compose is what these tests read of docker-compose.yml.
type compose struct {
	Services map[string]service
	Secrets  map[string]struct{ File string }
	Volumes  map[string]any
}

type service struct {
	Image       string
	Build       struct{ Context, Target string }
	Restart     string
	Command     []string
	Volumes     []string
	Secrets     []string
	Ports       []string
	Environment map[string]string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Deploy      struct{ Replicas int }
	Healthcheck struct{ Test []string }
}

// busdConfig is what these tests read of busd.yaml.
type busdConfig struct {
	ServerName string `yaml:"server_name"`
	NATS       struct{ URL string }
	HTTP       struct {
		Listen    string
		TokenFile string `yaml:"token_file"`
	}
	Modules []struct{ Module string }
}

// TestComposeFile reads docker-compose.yml and the files it mounts, as a look-over would. It needs no Docker.
func TestComposeFile(t *testing.T) {
	t.Parallel()
	file := load[compose](t, filepath.Join(testbed.Root, "docker-compose.yml"))
	nodes := file.where(func(s service) bool { return strings.HasPrefix(s.Image, "nats:") })
	daemons := file.where(func(s service) bool { return s.Build.Target == "busd" && !s.once() })
	if len(nodes) != 3 || len(daemons) != 2 {
		t.Fatalf("NATS nodes %v, busd %v; want three and two", nodes, daemons)
	}
	users := file.users(t)
	stages := stagesOf(t)
	for name, s := range file.Services {
		s.isSound(t, name, stages)
		s.mounts(t, name, file)
		if len(s.Ports) > 0 && !slices.Contains(daemons, name) {
			t.Errorf("%s publishes %v; only busd may", name, s.Ports)
		}
		if s.Build.Target != "" && !s.once() {
			waitsFor(t, name, s, nodes)
		}
		for _, secret := range s.Secrets {
			exists(t, name, file.Secrets[secret].File)
		}
	}
	for _, name := range nodes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file.Services[name].isNode(t, name, nodes, users)
		})
	}
	for _, name := range daemons {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file.Services[name].isDaemon(t, nodes)
		})
	}
	t.Run("demo-module", func(t *testing.T) {
		t.Parallel()
		config := file.Services[daemons[0]].config(t)
		demo := file.Services["demo-module"]
		if demo.Deploy.Replicas != 3 {
			t.Errorf("%d replicas, want 3", demo.Deploy.Replicas)
		}
		want := map[string]string{
			"MODULEBUS_NATS_URL":    config.NATS.URL,
			"MODULEBUS_SERVER_NAME": config.ServerName,
			"MODULEBUS_MODULE":      config.Modules[0].Module,
			"MODULEBUS_CREDENTIALS": made + "demo.creds",
		}
		if diff := cmp.Diff(want, demo.Environment); diff != "" {
			t.Errorf("environment and busd.yaml differ (-busd +module):\n%s", diff)
		}
	})
}

// isSound checks what every service needs.
func (s service) isSound(t *testing.T, name string, stages []string) {
	t.Helper()
	if len(s.Healthcheck.Test) < 2 && !s.once() {
		t.Errorf("%s has no healthcheck", name)
	}
	if !pinned(s.Image) {
		t.Errorf("%s: image %q is not pinned", name, s.Image)
	}
	if s.Build.Target != "" && !slices.Contains(stages, s.Build.Target) {
		t.Errorf("%s: Dockerfile has the stages %v, not %q", name, stages, s.Build.Target)
	}
}

// once reports whether the service ends by itself.
func (s service) once() bool { return s.Restart == "no" }

// made is where the service that makes users has what it makes.
const made = "/var/lib/modulebus/users/"

// users does what the service does that makes them, and returns the folder with what it made.
func (c compose) users(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "users")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	state, s := t.TempDir(), c.Services["users"]
	config, err := filepath.Abs(s.source(t, "/etc/modulebus/busd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(s.Command[0]) {
		words := strings.Fields(strings.ReplaceAll(line, "/etc/modulebus/busd.yaml", config))
		if words[0] != "busd" {
			continue
		}
		status, text, problem := testbed.Command(t, testbed.Busd, words[1:len(words)-1]...).With("STATE_DIRECTORY=" + state).Run()
		if status != 0 {
			t.Fatal(problem)
		}
		file, found := strings.CutPrefix(words[len(words)-1], ">"+made)
		if !found {
			t.Fatalf("%q writes elsewhere than to %s", line, made)
		}
		testbed.Write(t, filepath.Join(dir, file), text)
	}
	return dir
}

// isNode checks that a NATS node accepts its configuration, in the cluster of all nodes, and lets in nobody but the users.
func (s service) isNode(t *testing.T, name string, nodes []string, users string) {
	t.Helper()
	if got := s.flag("--name"); got != name {
		t.Errorf("--name is %q", got)
	}
	text, err := os.ReadFile(s.source(t, s.flag("--config")))
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "modulebus.conf")
	testbed.Write(t, config, strings.Replace(string(text), `include "users/`, `include "`+relative(t, config, users)+"/", 1))
	opts, err := server.ProcessConfigFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if len(opts.TrustedOperators) != 1 || opts.SystemAccount == "" {
		t.Errorf("whom the node lets in: %v, %q", opts.TrustedOperators, opts.SystemAccount)
	}
	if !slices.Contains(s.Volumes, "users:/etc/nats/users:ro") || s.DependsOn["users"].Condition != "service_completed_successfully" {
		t.Errorf("it does not wait for the users, or has none: %v, %v", s.Volumes, s.DependsOn)
	}
	var routes []string
	for _, r := range opts.Routes {
		routes = append(routes, r.Host)
	}
	want := hosts(nodes, opts.Cluster.Port)
	if diff := cmp.Diff(want, routes); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	probe := "http://" + net.JoinHostPort(opts.HTTPHost, strconv.Itoa(opts.HTTPPort)) + "/healthz"
	if !slices.Contains(s.Healthcheck.Test, probe) {
		t.Errorf("healthcheck %v does not look at %s", s.Healthcheck.Test, probe)
	}
}

// isDaemon checks that busd reaches every node, and that whoever reaches busd needs a token.
func (s service) isDaemon(t *testing.T, nodes []string) {
	t.Helper()
	config := s.config(t)
	var urls []string
	for _, host := range hosts(nodes, server.DEFAULT_PORT) {
		urls = append(urls, "nats://"+host)
	}
	if !slices.Contains(s.Volumes, "keys:/var/lib/modulebus/keys") {
		t.Errorf("it shares no keys: %v", s.Volumes)
	}
	if got, want := config.NATS.URL, strings.Join(urls, ","); got != want {
		t.Errorf("nats.url is %q, want %q", got, want)
	}
	_, port, err := net.SplitHostPort(config.HTTP.Listen)
	if err != nil {
		t.Fatalf("http.listen: %v", err)
	}
	if len(s.Ports) != 1 || !strings.HasSuffix(s.Ports[0], ":"+port) {
		t.Errorf("ports are %v, want port %s and no other", s.Ports, port)
	}
	secret, found := strings.CutPrefix(config.HTTP.TokenFile, "/run/secrets/")
	if !found || !slices.Contains(s.Secrets, secret) {
		t.Errorf("http.token_file %q is none of the secrets %v", config.HTTP.TokenFile, s.Secrets)
	}
	if !slices.ContainsFunc(s.Healthcheck.Test, func(arg string) bool {
		probe, err := url.Parse(arg)
		return err == nil && probe.Port() == port
	}) {
		t.Errorf("healthcheck %v does not look at port %s", s.Healthcheck.Test, port)
	}
}

// config reads what busd in this container does.
func (s service) config(t *testing.T) busdConfig {
	t.Helper()
	return load[busdConfig](t, s.source(t, "/etc/modulebus/busd.yaml"))
}

// shared are volumes of several services.
var shared = []string{"keys", "users"}

// mounts checks that what is mounted is there: a file of the repository, or a volume of this service's own, or a shared one.
func (s service) mounts(t *testing.T, name string, file compose) {
	t.Helper()
	for _, v := range s.Volumes {
		source, _, _ := strings.Cut(v, ":")
		if strings.HasPrefix(source, ".") {
			exists(t, name, source)
		} else if _, ok := file.Volumes[source]; !ok || !strings.HasPrefix(source, name) && !slices.Contains(shared, source) {
			t.Errorf("%s mounts %s, which is no volume of its own", name, source)
		}
	}
}

// source is the file that the container sees as target.
func (s service) source(t *testing.T, target string) string {
	t.Helper()
	for _, v := range s.Volumes {
		if parts := strings.Split(v, ":"); len(parts) > 1 && parts[1] == target {
			return filepath.Join(testbed.Root, parts[0])
		}
	}
	t.Fatalf("nothing is mounted at %q", target)
	return ""
}

// flag is the argument that follows name on the command line.
func (s service) flag(name string) string {
	i := slices.Index(s.Command, name)
	if i < 0 || i+1 == len(s.Command) {
		return ""
	}
	return s.Command[i+1]
}

// where names the services that are so, in order.
func (c compose) where(is func(service) bool) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		if is(c.Services[name]) {
			names = append(names, name)
		}
	}
	return names
}

var stage = regexp.MustCompile(`(?m)^FROM (\S+) AS (\S+)$`)

// stagesOf names the stages of the Dockerfile, after a look at what each is made from.
func stagesOf(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testbed.Root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range stage.FindAllStringSubmatch(string(text), -1) {
		if from := m[1]; from != "scratch" && !slices.Contains(names, from) && !pinned(from) {
			t.Errorf("Dockerfile: base image %q is not pinned", from)
		}
		names = append(names, m[2])
	}
	return names
}

func waitsFor(t *testing.T, name string, s service, nodes []string) {
	t.Helper()
	for _, node := range nodes {
		if got := s.DependsOn[node].Condition; got != "service_healthy" {
			t.Errorf("%s starts when %s is %q, want service_healthy", name, node, got)
		}
	}
}

func exists(t *testing.T, name, file string) {
	t.Helper()
	info, err := os.Stat(filepath.Join(testbed.Root, file))
	switch {
	case err != nil:
		t.Errorf("%s: %v", name, err)
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o004 == 0:
		t.Errorf("%s: %s must be a file that the user inside can read, and is %v", name, file, info.Mode())
	}
}

// relative is how one file names another, as include wants it.
func relative(t *testing.T, from, to string) string {
	t.Helper()
	path, err := filepath.Rel(filepath.Dir(from), to)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func pinned(image string) bool {
	_, tag, found := strings.Cut(path.Base(image), ":")
	return found && tag != "" && tag != "latest"
}

func hosts(names []string, port int) []string {
	var to []string
	for _, name := range names {
		to = append(to, net.JoinHostPort(name, strconv.Itoa(port)))
	}
	return to
}

func load[T any](t *testing.T, file string) T {
	t.Helper()
	var v T
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return v
}
