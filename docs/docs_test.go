// Package docs_test holds the documents to what is there.
package docs_test

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/cli"
	"github.com/modulebus/modulebus/internal/busd/config"
)

//go:generate go test -count=1 -run "^(TestPackageTable|TestLimitsPage|TestHomeserversPage)$" . -update

var update = flag.Bool("update", false, "write the table of packages into README.md")

func TestGoBlocksAreCode(t *testing.T) {
	t.Parallel()
	var all []string
	for _, file := range files(t, ".go") {
		all = append(all, read(t, file))
	}
	for _, b := range blocks(t, "go", documents(t)...) {
		if !slices.ContainsFunc(all, func(source string) bool { return strings.Contains(source, b.text) }) {
			t.Errorf("%s: this is not part of any Go file, so nobody knows whether it compiles:\n%s", b.file, b.text)
		}
	}
}

func TestReadmeShowsTheDemo(t *testing.T) {
	t.Parallel()
	demo := read(t, "cmd/demo-module/main.go")
	if !slices.ContainsFunc(blocks(t, "go", "README.md"), func(b block) bool { return b.text == demo }) {
		t.Error("README.md does not show cmd/demo-module/main.go as it is")
	}
	for _, b := range blocks(t, "yaml", "README.md") {
		if !strings.HasSuffix(read(t, "examples/demo.yaml"), "\n"+b.text) {
			t.Errorf("README.md does not show examples/demo.yaml as it is, but\n%s", b.text)
		}
	}
}

func TestConfigurationsLoad(t *testing.T) {
	t.Parallel()
	load := func(file, text string) {
		if _, err := config.Parse(file, []byte(text)); err != nil {
			t.Errorf("%v\nin\n%s", err, text)
		}
	}
	for _, b := range blocks(t, "yaml", "README.md", "docs/operating.md") {
		if !strings.HasPrefix(b.text, "server_name:") {
			b.text = "server_name: example.com\n" + b.text
		}
		load(b.file, b.text)
	}
	for _, file := range append(files(t, "/busd.yaml"), files(t, ".yaml")...) {
		if strings.HasPrefix(file, "examples/") || strings.HasPrefix(file, "deploy/") && !strings.HasPrefix(file, "deploy/prometheus/") {
			load(file, read(t, file))
		}
	}
}

func TestShellBlocksCanBeTyped(t *testing.T) {
	t.Parallel()
	for _, b := range blocks(t, "sh", documents(t)...) {
		for line := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", "")) {
			if err := typed(t, strings.Fields(line)); err != nil {
				t.Errorf("%s: %s: %v", b.file, strings.TrimSpace(line), err)
			}
		}
	}
}

// typed says what would be wrong with typing a command on a fresh clone, as far as this project is concerned.
func typed(t *testing.T, words []string) error {
	t.Helper()
	if len(words) == 0 || words[0] == "#" {
		return nil
	}
	for i, word := range words {
		if name := strings.Trim(word, "'"); strings.HasPrefix(name, "examples/") || strings.HasPrefix(name, "findings/") || strings.HasPrefix(name, "./") && !strings.HasSuffix(name, "...") {
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				return err
			}
		}
		if word == "./cmd/busd" || word == "busd" && i == 0 {
			return flagsOf(t, words[i+1:])
		}
	}
	switch words[0] {
	case "make":
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(words[1]) + `:`).MatchString(read(t, "Makefile")) {
			return fmt.Errorf("there is no target %s", words[1])
		}
	case "go", "curl", "nats", "docker", "pip", "bash", "umask":
	default:
		return fmt.Errorf("%s is no command that this test knows", words[0])
	}
	return nil
}

// flagsOf checks a command of busd, and its flags.
func flagsOf(t *testing.T, words []string) error {
	t.Helper()
	var help bytes.Buffer
	if status := cli.Execute(t.Context(), []string{words[0], "--help"}, cli.Streams{In: &help, Out: &help, Err: &help}); status != 0 {
		return fmt.Errorf("busd %s --help exits with status %d", words[0], status)
	}
	if !strings.Contains(help.String(), "busd "+words[0]) {
		return fmt.Errorf("busd has no %s", words[0])
	}
	for _, word := range words[1:] {
		if name, _, _ := strings.Cut(word, "="); strings.HasPrefix(name, "--") && !strings.Contains(help.String(), name+" ") {
			return fmt.Errorf("busd %s has no %s", words[0], name)
		}
	}
	return nil
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for _, file := range files(t, ".md") {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(read(t, file), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			to, anchor, _ := strings.Cut(m[1], "#")
			target := path.Join(path.Dir(file), to)
			if to == "" {
				target = file
			}
			if _, err := os.Stat(filepath.Join(root, target)); err != nil {
				t.Errorf("%s: %s: %v", file, m[1], err)
			} else if anchor != "" && !slices.Contains(anchors(read(t, target)), anchor) {
				t.Errorf("%s: %s has no such heading", file, m[1])
			}
		}
	}
}

func TestChangelogGoesOn(t *testing.T) {
	t.Parallel()
	if text := section(t, "CHANGELOG.md", "## [Unreleased]"); !strings.Contains(text, "\n* ") && !strings.Contains(text, "\n- ") {
		t.Error("nothing is unreleased")
	}
}

func TestGateIsShort(t *testing.T) {
	t.Parallel()
	if n := strings.Count(read(t, "examples/python/gate.py"), "\n"); n > 70 {
		t.Errorf("gate.py has %d lines; documents say that seventy are enough", n)
	}
}

// pkg is a folder with Go files.
type pkg struct {
	dir                    string
	comments               []string // of the package, in whichever files
	code, tests, generated int      // lines
	files                  []*ast.File
}

// packages returns those with files that are no tests, by folder.
func packages(t *testing.T) map[string]*pkg {
	t.Helper()
	all := map[string]*pkg{}
	for _, file := range files(t, ".go") {
		p := all[path.Dir(file)]
		if p == nil {
			p = &pkg{dir: path.Dir(file)}
			all[p.dir] = p
		}
		p.add(t, file)
	}
	for dir, p := range all {
		if p.code+p.generated == 0 {
			delete(all, dir)
		}
	}
	return all
}

func (p *pkg) add(t *testing.T, file string) {
	t.Helper()
	text := read(t, file)
	n := strings.Count(text, "\n")
	if strings.HasSuffix(file, "_test.go") {
		p.tests += n
		return
	}
	f, err := parser.ParseFile(token.NewFileSet(), file, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	p.files = append(p.files, f)
	if f.Doc != nil {
		p.comments = append(p.comments, f.Doc.Text())
	}
	if ast.IsGenerated(f) {
		p.generated += n
	} else {
		p.code += n
	}
}

// TestPackageComments wants one for each package, but for those that are generated: their .proto files have some.
func TestPackageComments(t *testing.T) {
	t.Parallel()
	for dir, p := range packages(t) {
		if n := len(p.comments); n != 1 && p.code > 0 {
			t.Errorf("%s has %d package comments", dir, n)
		}
	}
}

func TestExportedNamesHaveComments(t *testing.T) {
	t.Parallel()
	all := packages(t)
	for _, dir := range []string{"bus", "modulekit", "subjects"} {
		for _, f := range all[dir].files {
			for _, d := range f.Decls {
				for _, name := range uncommented(d) {
					t.Errorf("%s: %s has no comment", dir, name)
				}
			}
		}
	}
}

// uncommented returns the exported names of a declaration that nothing is said of. One comment may speak for a group.
func uncommented(d ast.Decl) (names []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && ofExported(d) {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					names = append(names, s.Name.Name)
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					names = append(names, s.Names[0].Name)
				}
			}
		}
	}
	return names
}

// ofExported reports whether a function is no method of an unexported type.
func ofExported(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	exported := true
	ast.Inspect(f.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && exported {
			exported = id.IsExported()
			return false
		}
		return true
	})
	return exported
}

const (
	tableBegin = "<!-- packages -->\n"
	tableEnd   = "<!-- /packages -->"
)

// TestPackageTable counts again, and does not mind small changes. With -update, as in go generate, it writes.
func TestPackageTable(t *testing.T) {
	t.Parallel()
	readme := read(t, "README.md")
	before, rest, begins := strings.Cut(readme, tableBegin)
	_, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		t.Fatal("README.md has no place for the table of packages")
	}
	want := before + tableBegin + packageTable(t) + tableEnd + after
	if *update && want != readme {
		if err := os.WriteFile(filepath.Join(root, "README.md"), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		readme = want
	}
	if !alike(want, readme) {
		t.Error("the table of packages in README.md is stale: type go generate ./docs")
	}
}

// alike reports whether two texts have the same words, and numbers that tell the same: within a quarter, or 100 lines.
func alike(want, got string) bool {
	a, b := strings.Fields(want), strings.Fields(got)
	return slices.EqualFunc(a, b, func(x, y string) bool {
		m, err := strconv.Atoi(x)
		n, err2 := strconv.Atoi(y)
		if err != nil || err2 != nil {
			return x == y
		}
		return max(m-n, n-m) <= max(100, m/4)
	})
}

// house is the order of the folders in the table.
var house = []string{"schemas", "subjects", "bus", "modulekit", "cmd", "examples", "internal", "integration"}

func packageTable(t *testing.T) string {
	t.Helper()
	all := packages(t)
	for dir, p := range all { // What is generated from schemas stands with what it is generated from.
		if up := path.Dir(path.Dir(dir)); up == "schemas" {
			all[up].generated += p.generated
			delete(all, dir)
		}
	}
	for _, file := range files(t, ".proto") {
		all["schemas"].code += strings.Count(read(t, file), "\n")
	}
	var list []*pkg
	for _, p := range all {
		list = append(list, p)
	}
	place := func(p *pkg) string {
		top, _, _ := strings.Cut(p.dir, "/")
		return fmt.Sprintf("%d/%s", slices.Index(house, top), p.dir)
	}
	slices.SortFunc(list, func(a, b *pkg) int { return strings.Compare(place(a), place(b)) })
	var b strings.Builder
	b.WriteString("| package | | hand-written | tests | generated |\n|---|---|---:|---:|---:|\n")
	var total pkg
	for _, p := range list {
		fmt.Fprintf(&b, "| [%s](%s) | %s | %d | %d | %d |\n", p.dir, p.dir, p.synopsis(), figures(p.code), figures(p.tests), figures(p.generated))
		total.code, total.tests, total.generated = total.code+p.code, total.tests+p.tests, total.generated+p.generated
	}
	fmt.Fprintf(&b, "| | all of them, in lines, comments included, to two figures | %d | %d | %d |\n", figures(total.code), figures(total.tests), figures(total.generated))
	return b.String()
}

// figures rounds to two of them, so that not every change of a line is one of README.md.
func figures(n int) int {
	unit := 1
	for n/unit >= 100 {
		unit *= 10
	}
	return (n + unit/2) / unit * unit
}

// synopsis is the first sentence of the package comment, without its subject.
func (p *pkg) synopsis() string {
	if len(p.comments) == 0 {
		return ""
	}
	text := new(doc.Package).Synopsis(p.comments[0])
	if words := strings.SplitN(text, " ", 3); len(words) == 3 && (words[0] == "Package" || words[0] == "Command") {
		text = words[2]
	}
	return strings.ReplaceAll(text, "|", `\|`)
}
