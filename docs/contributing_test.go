package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	word   = regexp.MustCompile(`^[A-Za-z_]+$`)
)

// TestStepsOfContributingLeadToTheCode holds that each file and folder that CONTRIBUTING.md names is there, and that a row which
// names a part of the code names a file or a folder with it.
func TestStepsOfContributingLeadToTheCode(t *testing.T) {
	t.Parallel()
	page := read(t, "CONTRIBUTING.md")
	steps := page[strings.Index(page, "## Add a callback"):strings.Index(page, "## Change something else")]
	rows := 0
	for line := range strings.Lines(steps) {
		text, names := codeOf(t, line)
		if text != "" && strings.HasPrefix(line, "| ") {
			rows++
		}
		for _, name := range names {
			if strings.HasPrefix(line, "| ") && !regexp.MustCompile(`\b`+name+`\b`).MatchString(text) {
				t.Errorf("%q is in no file that this row names: %s", name, line)
			}
		}
	}
	if rows < 4 {
		t.Errorf("only %d rows name a place in the code", rows)
	}
}

// codeOf returns the text of the files that a line of the page names, of those in its folders, too, and the names of code in it.
func codeOf(t *testing.T, line string) (text string, names []string) {
	t.Helper()
	var dirs []string
	for _, m := range quoted.FindAllStringSubmatch(line, -1) {
		path, _, _ := strings.Cut(m[1], " ")
		switch {
		case word.MatchString(m[1]):
			names = append(names, m[1])
		case strings.HasPrefix(path, "/") || path == "go" || path == "make" || strings.HasPrefix(path, ".proto"):
		case strings.Contains(path, "/"):
			if _, err := os.Stat(filepath.Join(root, path)); err != nil {
				t.Error(err)
			}
			dirs = append(dirs, path)
		case strings.HasSuffix(path, ".go"):
			dirs = append(dirs, filepath.Join(dirs[0], path))
		}
	}
	var all []string
	for _, dir := range dirs {
		all = append(all, goText(t, dir)...)
	}
	return strings.Join(all, "\n"), names
}

// goText returns the text of a file, or of the Go and .proto files of a folder.
func goText(t *testing.T, path string) (all []string) {
	t.Helper()
	if filepath.Ext(path) != "" {
		return []string{read(t, path)}
	}
	for _, pattern := range []string{"*.go", "*.proto"} {
		files, err := filepath.Glob(filepath.Join(root, path, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			all = append(all, read(t, strings.TrimPrefix(filepath.ToSlash(f), root+"/")))
		}
	}
	return all
}
