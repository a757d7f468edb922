package docs_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestSecurityPageNamesTestsThatExist holds each sentence of the threat model to a test.
func TestSecurityPageNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	there := tests(t)
	for item := range strings.SplitSeq(string(page), "\n- ") {
		if text, _, _ := strings.Cut(item, "\n\n"); !strings.HasPrefix(text, "# ") {
			isHeld(t, text, there)
		}
	}
}

// TestEachAttackNamesTestsThatExist holds each row of the table of attacks to a test.
func TestEachAttackNamesTestsThatExist(t *testing.T) {
	t.Parallel()
	there, rows := tests(t), 0
	for line := range strings.Lines(read(t, "docs/attacks.md")) {
		if strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| Attack ") {
			isHeld(t, line, there)
			rows++
		}
	}
	if rows < 20 {
		t.Errorf("the table has %d rows", rows)
	}
}

var namedTest = regexp.MustCompile("`(Test[A-Z][A-Za-z0-9]*)`")

// isHeld wants a text to name tests, and all of them to exist.
func isHeld(t *testing.T, text string, there map[string]bool) {
	t.Helper()
	named := namedTest.FindAllStringSubmatch(text, -1)
	if len(named) == 0 {
		t.Errorf("no test holds this: %s", text)
	}
	for _, name := range named {
		if !there[name[1]] {
			t.Errorf("there is no test %s", name[1])
		}
	}
}

// tests are the names of all tests of the repository.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	named := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(t \*testing\.T\)`)
	for _, file := range files(t, "_test.go") {
		for _, m := range named.FindAllStringSubmatch(read(t, file), -1) {
			found[m[1]] = true
		}
	}
	return found
}
