package docs_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	benchCommand = regexp.MustCompile(`(?m)^go run -C internal/cmd/bench \.(.*)$`)
	benchFlag    = regexp.MustCompile(`(?:^| )-([a-z]+)(?: '([^']*)')?`)
	benchProfile = regexp.MustCompile(`internal/cmd/bench/profiles/(\S+)\.(?:ours|peer)\.pprof`)
	benchRow     = regexp.MustCompile(`(?m)^\| ([^|]+) \|`)
	unspeakable  = regexp.MustCompile(`[^a-z0-9]+`)
)

// rowsOfBench are the names of what the README says was measured.
func rowsOfBench(t *testing.T) (names []string) {
	t.Helper()
	_, table, _ := strings.Cut(read(t, "README.md"), "<!-- bench -->")
	table, _, _ = strings.Cut(table, "<!-- /bench -->")
	for _, m := range benchRow.FindAllStringSubmatch(table, -1) {
		names = append(names, m[1])
	}
	return names
}

// TestPerformanceCommands holds the commands of docs/performance.md to the flags and rows that there are.
func TestPerformanceCommands(t *testing.T) {
	t.Parallel()
	source, rows := read(t, "internal/cmd/bench/main.go"), rowsOfBench(t)
	block := blocks(t, "sh", "docs/performance.md")[0].text
	commands := benchCommand.FindAllStringSubmatch(block, -1)
	if len(commands) == 0 {
		t.Fatal("there is no command")
	}
	for _, command := range commands {
		for _, flag := range benchFlag.FindAllStringSubmatch(command[1], -1) {
			if !strings.Contains(source, `"`+flag[1]+`"`) {
				t.Errorf("%s: there is no flag %s", command[0], flag[1])
			}
			if flag[1] == "run" && !slices.ContainsFunc(rows, regexp.MustCompile(flag[2]).MatchString) {
				t.Errorf("%s: no row matches", command[0])
			}
		}
	}
	for _, m := range benchProfile.FindAllStringSubmatch(block, -1) {
		if !slices.Contains(fileNames(rows), m[1]) {
			t.Errorf("no row writes the profile %s", m[1])
		}
	}
}

// fileNames are the names of the rows as those of their profiles.
func fileNames(rows []string) (names []string) {
	for _, row := range rows {
		names = append(names, unspeakable.ReplaceAllString(strings.ToLower(row), "-"))
	}
	return names
}
