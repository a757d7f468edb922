//go:build integration

package synapse_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestMeowlnirDecidesWithAModule does what docs/antispam.md says of Meowlnir, which somebody has built (make meowlnir).
func TestMeowlnirDecidesWithAModule(t *testing.T) {
	t.Parallel()
	program := os.Getenv("MODULEBUS_MEOWLNIR")
	if program == "" {
		t.Skip("it takes minutes to build: make meowlnir")
	}
	page := section(t, "antispam.md", "Meowlnir")
	s, port, listen := prepareSynapse(t), testbed.FreePort(t), testbed.FreePort(t)
	replacements := []string{
		"127.0.0.1:8008", strings.TrimPrefix(s.url, "http://"), "127.0.0.1:8010", fmt.Sprint("127.0.0.1:", listen),
		"127.0.0.1:29339", fmt.Sprint("127.0.0.1:", port), "port: 29339", fmt.Sprint("port: ", port),
		`@abuse:example\\.com`, `@abuse:` + regexp.QuoteMeta(s.name),
	}
	here := strings.NewReplacer(append(replacements, "example.com", s.name)...)
	file := func(name, text string) string {
		path := filepath.Join(s.dir, name)
		testbed.Write(t, path, text)
		return path
	}
	config := file("meowlnir.yaml", here.Replace(page.files[0]))
	services := "app_service_config_files: ['" + file("meowlnir-registration.yaml", here.Replace(page.files[1])) + "']"
	s.configure(t, " []", services)
	s.start(t)
	alice, owner := s.register(t, "alice", false), s.register(t, "owner", false)
	evilguy, carol := s.register(t, "evilguy", false), s.register(t, "carol", false)

	meowlnir := testbed.Execute(t, program, "-c", config)
	meowlnir.Start()
	meowlnir.Stdout.Line(t, "Startup complete")
	management := alice.createRoom(t, nil)
	alice.must(t, "POST", room(management, "invite"), map[string]any{"user_id": "@abuse:" + s.name})
	here = strings.NewReplacer(append(replacements, "%21room:example.com", url.PathEscape(management), "!room:example.com", management, "example.com", s.name)...)
	for _, command := range page.curls {
		put(t, here.Replace(command[1]), here.Replace(command[0]))
	}
	s.stop()

	token := file("meowlnir.token", "a-secret-of-busd\n")
	roster := strings.NewReplacer("meowlnir.token", token, "[go, run, ./cmd/demo-module]", "['"+testbed.Program(t, "cmd/demo-module")+"']")
	d := testbed.Serve(t, fmt.Sprintf("http: {listen: '127.0.0.1:%d'}\n%s", listen, roster.Replace(here.Replace(page.files[3]))))
	_, modules, _ := strings.Cut(here.Replace(page.files[4]), "modules:")
	s.configure(t, modules, services)
	s.start(t)
	id := alice.createRoom(t, nil)
	invite := func(who user) string {
		return alice.do(t, "POST", room(id, "invite"), map[string]any{"user_id": who.id}).String()
	}
	const no = `403 M_FORBIDDEN "You're not allowed to invite that user"`
	if got := invite(owner); got != no {
		t.Errorf("an invite of whom Meowlnir protects: %s; want %s", got, no)
	}
	if got := invite(carol); got != "200" {
		t.Errorf("another invite: %s", got)
	}
	if got := evilguy.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{}); got.status != http.StatusForbidden {
		t.Errorf("a room that the module refuses: %v", got)
	}
	askEach(t, here.Replace("http://127.0.0.1:29339/_meowlnir/antispam/!room:example.com"), token, []string{"user_may_invite", "user_may_join_room", "accept_make_join"})

	meowlnir.Kill()
	testbed.Eventually(t, "Meowlnir is known to be down", func() bool { return d.Module("meowlnir").State == "failed" })
	if got := invite(owner); got != "200" {
		t.Errorf("an invite while Meowlnir is down: %s", got)
	}
}

// steps are what a section of a page has one do.
type steps struct {
	files []string    // in YAML
	curls [][2]string // the bodies that are sent, and where to
}

var curl = regexp.MustCompile(`(?s)curl -X PUT -H 'Authorization: Bearer a-secret-of-the-operator' -d '([^']*)'[ \\\n]*(http\S+)`)

func section(t *testing.T, page, heading string) (s steps) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testbed.Root, "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n## "+heading+"\n")
	rest, _, _ = strings.Cut(rest, "\n## ")
	for _, block := range yamlBlock.FindAllStringSubmatch(rest, -1) {
		s.files = append(s.files, unindented(block[1]))
	}
	for _, command := range curl.FindAllStringSubmatch(rest, -1) {
		s.curls = append(s.curls, [2]string(command[1:]))
	}
	if len(s.files) != 5 || len(s.curls) != 2 {
		t.Fatalf("the page shows %d files and %d commands", len(s.files), len(s.curls))
	}
	return s
}

// put does what the page does with curl.
func put(t *testing.T, to, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer a-secret-of-the-operator")
	rsp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if rsp.StatusCode/100 != 2 {
		t.Fatalf("%s: %s", to, rsp.Status)
	}
}
