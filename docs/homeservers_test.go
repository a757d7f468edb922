package docs_test

import (
	"bytes"
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/subjects"
)

const (
	homeserversPage = "docs/homeservers.md"
	asksBegin       = "<!-- asks -->\n"
	asksEnd         = "<!-- /asks -->"
)

// TestHomeserversPage holds the table of what homeservers ask to the declarations, and to what the example for Dendrite asks.
// With -update it writes the table.
func TestHomeserversPage(t *testing.T) {
	t.Parallel()
	page := read(t, homeserversPage)
	before, rest, begins := strings.Cut(page, asksBegin)
	_, after, ends := strings.Cut(rest, asksEnd)
	if !begins || !ends {
		t.Fatalf("%s has no place for the table", homeserversPage)
	}
	want := before + asksBegin + asksTable(t) + asksEnd + after
	if *update && want != page {
		if err := os.WriteFile(filepath.Join(root, homeserversPage), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		page = want
	}
	if page != want {
		t.Errorf("%s is stale: type go generate ./docs", homeserversPage)
	}
}

func asksTable(t *testing.T) string {
	t.Helper()
	dendrite := askedBy(t, "examples/dendrite")
	var b strings.Builder
	b.WriteString("| callback | Synapse | Dendrite | antispam | policy server |\n|---|---|---|---|---|\n")
	for _, d := range subjects.All() {
		if d.FollowUp() {
			continue
		}
		since := d.Options.GetSince()
		if since == "none" {
			since = ""
		}
		b.WriteString("| [`" + d.Name + "`](callbacks/" + d.Category.Name + ".md#" + d.Name + ") | " + since + " | " + yes(dendrite[d]) +
			" | " + yes(d.Options.GetAntispam()) + " | " + yes(d.Options.GetPolicyServer()) + " |\n")
	}
	return b.String()
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return ""
}

// askedBy finds the callbacks that the programs in a folder ask with package bus: calls of a category's method.
func askedBy(t *testing.T, dir string) map[*subjects.Declaration]bool {
	t.Helper()
	asked := map[*subjects.Declaration]bool{}
	for _, file := range files(t, ".go") {
		if !strings.HasPrefix(file, dir+"/") || strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if category, name, ok := methodOfField(n); ok {
				for _, d := range subjects.All() {
					if camel(d.Category.Name) == category && requestOf(d) == name+"Request" {
						asked[d] = true
					}
				}
			}
			return true
		})
	}
	return asked
}

func requestOf(d *subjects.Declaration) string {
	return string(d.NewRequest().ProtoReflect().Descriptor().Name())
}

// methodOfField is a selector such as client.SpamChecker.UserMayCreateRoom.
func methodOfField(n ast.Node) (field, method string, ok bool) {
	outer, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", "", false
	}
	inner, ok := outer.X.(*ast.SelectorExpr)
	if !ok {
		return "", "", false
	}
	return inner.Sel.Name, outer.Sel.Name, true
}

func camel(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// TestFirstHomeserverAsksItsFirstModule does what the page says, in an empty folder: it types what is to be typed, writes the
// files that are shown, and compares what the page says that curl prints. Addresses are free ones.
func TestFirstHomeserverAsksItsFirstModule(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	anywhere := strings.NewReplacer(
		"../modulebus", absolute(t, root),
		"127.0.0.1:4222", testbed.FreeAddress(t), "127.0.0.1:8010", testbed.FreeAddress(t), "127.0.0.1:8008", testbed.FreeAddress(t),
	)
	text := section(t, homeserversPage, "## Ten minutes")
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if file := m[2]; file != "" {
			writeFirst(t, filepath.Join(dir, file), anywhere.Replace(m[3]))
		}
	}
	// The addresses that are busd's defaults are said here, and the sums of what is downloaded are known.
	writeFirst(t, filepath.Join(dir, "busd.yaml"), anywhere.Replace("nats: {listen: 127.0.0.1:4222}\nhttp: {listen: 127.0.0.1:8010}\n")+
		string(must(os.ReadFile(filepath.Join(dir, "busd.yaml")))))
	writeFirst(t, filepath.Join(dir, "go.sum"), read(t, "go.sum"))

	var commands []string
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[1] == "shell" {
			commands = append(commands, strings.Split(strings.TrimSpace(strings.ReplaceAll(anywhere.Replace(m[3]), "\\\n", "")), "\n")...)
		}
	}
	asked := answered(t, text)
	for _, command := range commands {
		switch {
		case strings.HasPrefix(command, "curl "):
			want := asked[0]
			asked = asked[1:]
			var got string
			testbed.Eventually(t, command+" prints "+want, func() bool {
				out, err := shell(t.Context(), dir, "curl -s "+strings.TrimPrefix(command, "curl ")).Output()
				got = strings.TrimSpace(string(out))
				return err == nil && got == want
			})
		case strings.Contains(command, " serve ") || strings.HasSuffix(command, "./homeserver"):
			background(t, dir, command)
		default:
			testbed.Eventually(t, command, func() bool { // Credentials are there when busd has made them.
				out, err := shell(t.Context(), dir, command).CombinedOutput()
				if err != nil {
					t.Logf("%s: %v\n%s", command, err, out)
				}
				return err == nil
			})
		}
	}
	if len(asked) > 0 {
		t.Errorf("the page says what is printed for questions that it does not ask: %v", asked)
	}
}

// answered are the lines that the page says are printed.
func answered(t *testing.T, text string) []string {
	t.Helper()
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		if m[1] == "json" {
			return strings.Split(strings.TrimSpace(m[3]), "\n")
		}
	}
	t.Fatal("the page does not say what is printed")
	return nil
}

func shell(ctx context.Context, dir, command string) *exec.Cmd {
	c := exec.CommandContext(ctx, "bash", "-c", command)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOWORK=off")
	return c
}

// background runs a command with all that it starts until the test ends.
func background(t *testing.T, dir, command string) {
	t.Helper()
	var said bytes.Buffer
	c := shell(context.Background(), dir, "exec "+command)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGTERM)
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", command, &said)
		}
	})
}

func writeFirst(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	testbed.Write(t, file, text)
}

func absolute(t *testing.T, dir string) string {
	t.Helper()
	path, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
