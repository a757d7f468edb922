package layers_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/subjects"
)

// mayNameInPython are the files of the bridge and of the kit that may name a callback or a method, and why.
var mayNameInPython = map[string]string{
	"bridges/python/modulebus/__init__.py":             "its documentation has an example",
	"bridges/python/modulebus/testing.py":              "its documentation has an example",
	"bridges/synapse/modulebus_synapse/workarounds.py": "a method that Synapse itself fails at",
}

// inPython finds names of callbacks wherever they are words, and names of methods where they are strings or functions: a
// method's name alone may be a call of Synapse's.
func inPython() *regexp.Regexp {
	var callbacks, methods []string
	for _, d := range subjects.All() {
		callbacks = append(callbacks, d.Name)
	}
	for _, m := range subjects.Methods() {
		methods = append(methods, m.Name)
	}
	of := strings.Join(methods, "|")
	return regexp.MustCompile(`\b(?:` + strings.Join(callbacks, "|") + `)\b|["'](?:` + of + `)["']|\bdef _?(?:` + of + `)\b`)
}

// python calls visit with each Python file of the bridge and of the kit that is written by hand, and no test.
func python(t *testing.T, visit func(name, text string)) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, "bridges"), func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "tests" || entry.Name() == "build"): // pip makes build.
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(path, ".py"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(text), "Generated from schemas/") {
			name, _ := filepath.Rel(root, path) // It is below root.
			visit(filepath.ToSlash(name), string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestCallbacksAreNamedByTheDeclarationAloneInPython(t *testing.T) {
	t.Parallel()
	names, used, read := inPython(), map[string]bool{}, 0
	python(t, func(name, text string) {
		read++
		line := 0
		for source := range strings.Lines(text) {
			line++
			found := names.FindString(source)
			used[name] = used[name] || found != ""
			if found != "" && mayNameInPython[name] == "" {
				t.Errorf("%s:%d names %s: read what it must know from the table, or say in schemas what is missing there", name, line, found)
			}
		}
	})
	if read == 0 {
		t.Error("there is no Python to read")
	}
	for name := range mayNameInPython {
		if !used[name] {
			t.Errorf("%s names nothing any more: take it off the list", name)
		}
	}
}

func TestCallbackThatIsNamedInPythonIsFound(t *testing.T) {
	t.Parallel()
	names := inPython()
	for source, want := range map[string]bool{
		`if callback.name == "user_may_invite":`:           true,
		`# as of check_event_allowed`:                      true,
		`_LOCAL = {"create_room": "user_id"}`:              true,
		`async def _put_global(api):`:                      true,
		`await api.get_userinfo_by_id(value)`:              false,
		`my_user_may_invite_rule = 1`:                      false,
		`"""Registers what is wanted."""`:                  false,
		`properties = inspect.signature(function)`:         false,
		`return api.register_web_resource(path, resource)`: false,
	} {
		if got := names.MatchString(source); got != want {
			t.Errorf("%s: %v", source, got)
		}
	}
}
