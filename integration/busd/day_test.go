//go:build integration

package busd_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
)

// dayTime is how long the whole day may take: it builds three programs, starts a Synapse, and waits some
// fifteen times for what must happen.
const dayTime = 5 * time.Minute

var dayAddress = regexp.MustCompile(`127\.0\.0\.1:\d+`)

var dayBlocks = regexp.MustCompile("(?ms)^```(shell|text)\n(.*?)^```$")

// TestOperatorsDay types what docs/operating.md has an operator type, in one shell, and holds what it prints against what the page
// shows. Only ports differ, and where Synapse is installed.
func TestOperatorsDay(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(testbed.Root, "docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "\n## A day\n")
	section, _, _ := strings.Cut(rest, "\n## ")
	free := map[string]string{}
	for _, a := range dayAddress.FindAllString(section, -1) {
		if free[a] == "" {
			free[a] = testbed.FreeAddress(t)
		}
	}
	section = dayAddress.ReplaceAllStringFunc(section, func(a string) string { return free[a] })
	section = strings.ReplaceAll(section, " day", " "+t.TempDir())
	const mark = "--- next block"
	var script strings.Builder
	script.WriteString("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n")
	shown, steps := map[int]string{}, 0
	for _, block := range dayBlocks.FindAllStringSubmatch(section, -1) {
		if block[1] == "text" {
			shown[steps] = block[2]
			continue
		}
		steps++
		script.WriteString("echo '" + mark + "'\n" + block[2])
	}
	shell := testbed.Execute(t, "/bin/bash", "-c", script.String())
	shell.Cmd.Dir, shell.Cmd.Env, shell.Patience = testbed.Root, append(os.Environ(), "MODULEBUS_PYTHON="+testbed.Python(t)), dayTime
	status, out, problem := shell.Run()
	if status != 0 || steps < 12 {
		t.Fatalf("of %d steps, one ended with %d:\n%s%s", steps, status, out, problem)
	}
	printed := strings.Split(out, mark+"\n")
	for step, lines := range shown {
		for line := range strings.Lines(lines) {
			if !pattern(line).MatchString(printed[step]) {
				t.Errorf("step %d printed\n%sand not %s", step, printed[step], line)
			}
		}
	}
}

// pattern matches a line as the page shows it: "…" is anything, and spaces any number of them.
func pattern(line string) *regexp.Regexp {
	text := regexp.QuoteMeta(strings.Join(strings.Fields(line), " "))
	return regexp.MustCompile(strings.NewReplacer("…", ".*", " ", " +").Replace(text))
}
