package layers_test

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxCommitted is the size of the largest file that may be committed. Nothing that people write comes near.
const maxCommitted = 512 << 10

var (
	// caches are folders that tools fill.
	caches = regexp.MustCompile(`(?:^|/)(?:\.cache|__pycache__|\.mypy_cache|\.pytest_cache|\.ruff_cache|node_modules|[^/]*\.egg-info|dist)/`)

	// programs are how files begin that linkers and compilers write: ELF, Mach-O (of both orders, and of several machines), PE,
	// archives of objects, WebAssembly, and Java's classes (as Mach-O of several machines).
	programs = []string{
		"\x7fELF", "\xfe\xed\xfa\xce", "\xfe\xed\xfa\xcf", "\xce\xfa\xed\xfe", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe", "MZ", "!<arch>\n", "\x00asm",
	}
)

// TestNothingThatIsBuiltIsCommitted keeps programs and caches out of the repository: once in, they are in each clone for good.
func TestNothingThatIsBuiltIsCommitted(t *testing.T) {
	t.Parallel()
	files := committed(t)
	if !slices.Contains(files, "go.mod") {
		t.Fatalf("go.mod is not among the %d files", len(files))
	}
	for _, name := range files {
		if why := built(t, name); why != "" {
			t.Errorf("%s %s: take it out of the commit, and name it in .gitignore", name, why)
		}
	}
}

func TestBuiltFilesAreKnown(t *testing.T) {
	t.Parallel()
	for begin, want := range map[string]bool{"\x7fELF\x02\x01": true, "MZ\x90": true, "\xcf\xfa\xed\xfe\x07": true, "package p": false, "": false, "#!/bin/sh": false} {
		if got := isProgram([]byte(begin)); got != want {
			t.Errorf("%q is a program: %v", begin, got)
		}
	}
	for name, want := range map[string]bool{
		"bridges/python/.mypy_cache/3.13/cache.db": true, "a/__pycache__/b.pyc": true, ".cache/x": true, "internal/busd/replay/cache.go": false, "docs/dist.md": false,
	} {
		if got := caches.MatchString(name); got != want {
			t.Errorf("%s is in a cache: %v", name, got)
		}
	}
}

// built returns why a file cannot have been written by people; empty if it can.
func built(t *testing.T, name string) string {
	t.Helper()
	if caches.MatchString(name) {
		return "is in a folder that a tool fills"
	}
	file, err := os.Open(filepath.Join(root, name))
	if os.IsNotExist(err) { // It is deleted, and that is not committed yet.
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	begin, err := io.ReadAll(io.LimitReader(file, maxCommitted+1))
	switch {
	case err != nil:
		t.Fatal(err)
	case isProgram(begin):
		return "is a built program"
	case len(begin) > maxCommitted:
		return "is larger than what people write"
	}
	return ""
}

func isProgram(begin []byte) bool {
	return slices.ContainsFunc(programs, func(magic string) bool { return bytes.HasPrefix(begin, []byte(magic)) })
}

// committed returns the files that git has, or all where this is no clone (an archive of a release).
func committed(t *testing.T) (files []string) {
	t.Helper()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	list.Dir = root
	if out, err := list.Output(); err == nil {
		return strings.FieldsFunc(string(out), func(r rune) bool { return r == 0 })
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", ".cache"}, d.Name()):
			return filepath.SkipDir
		case d.Type().IsRegular():
			files = append(files, filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator))))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
