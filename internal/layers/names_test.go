package layers_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/subjects"
)

const root = "../.."

// mayName are the files that may name a callback though they are neither generated nor an example, and why.
var mayName = map[string]string{
	"internal/busd/cli/ask.go": "the help of a command has an example",
}

// named finds what names callbacks.
type named struct {
	text  *regexp.Regexp    // in a string: a callback's name, as a word
	types map[string]string // names of message types, and whose they are
	funcs map[string]string // names of descriptors, methods and fields, and whose they are
	homes map[string]bool   // where funcs are named: package subjects, and the fields of categories
}

func callbacks() named {
	n := named{types: map[string]string{}, funcs: map[string]string{}, homes: map[string]bool{"subjects": true}}
	var words []string
	for _, d := range subjects.All() {
		name, _ := strings.CutSuffix(string(d.NewRequest().ProtoReflect().Descriptor().Name()), "Request")
		n.funcs[name] = d.FullName()
		n.types[name+"Request"], n.types[name+"Response"] = d.FullName(), d.FullName()
		words = append(words, regexp.QuoteMeta(d.Name))
	}
	for _, c := range subjects.Categories() {
		n.homes[goName(c.Name)] = true
	}
	n.text = regexp.MustCompile(`\b(` + strings.Join(words, "|") + `)\b`)
	return n
}

// goName spells the name of a category as Go does.
func goName(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// in returns the callback that a node names, if any.
func (n named) in(node ast.Node) string {
	switch node := node.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(node.Value); err == nil && node.Kind == token.STRING {
			return n.text.FindString(text)
		}
	case *ast.Ident:
		return n.types[node.Name]
	case *ast.SelectorExpr:
		if n.homes[lastName(node.X)] {
			return n.funcs[node.Sel.Name]
		}
	case *ast.CompositeLit:
		if name := lastName(node.Type); strings.HasSuffix(name, "Callbacks") && n.homes[strings.TrimSuffix(name, "Callbacks")] {
			return n.inKeys(node)
		}
	}
	return ""
}

func (n named) inKeys(literal *ast.CompositeLit) string {
	for _, element := range literal.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok && n.funcs[lastName(pair.Key)] != "" {
			return n.funcs[lastName(pair.Key)]
		}
	}
	return ""
}

func lastName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}

// parse reads a Go file of the tree.
func parse(t *testing.T, name string, mode parser.Mode) (*token.FileSet, *ast.File) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, filepath.Join(root, filepath.FromSlash(name)), nil, mode)
	if err != nil {
		t.Fatal(err)
	}
	return files, file
}

// handWritten calls visit with each Go file that is neither generated, a test, nor there to show how a callback is used.
func handWritten(t *testing.T, visit func(name string)) {
	t.Helper()
	goFiles(t, "schemas/ docs/callbacks/ examples/ cmd/demo-module/ internal/cmd/bench/ internal/cmd/synapsebench/ internal/combine/combinetest/ internal/busd/door/doortest/ integration/testbed/", visit)
}

// goFiles calls visit with each Go file that is neither generated nor a test, but those in the folders of a list (see row).
func goFiles(t *testing.T, without string, visit func(name string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		switch base := entry.Name(); {
		case entry.IsDir() && name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "node_modules"):
			return fs.SkipDir
		case entry.IsDir() || !strings.HasSuffix(base, ".go") || covers(without, name):
		case strings.HasSuffix(base, "_test.go") || strings.HasSuffix(base, "_gen.go") || strings.HasSuffix(base, ".pb.go"):
		default:
			visit(name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What is said of a callback stands with its declaration. Code that names one knows something that is said nowhere.
func TestCallbacksAreNamedByTheDeclarationAlone(t *testing.T) {
	t.Parallel()
	n := callbacks()
	used := map[string]bool{}
	handWritten(t, func(name string) {
		files, file := parse(t, name, parser.SkipObjectResolution)
		ast.Inspect(file, func(node ast.Node) bool {
			if callback := n.in(node); callback != "" {
				used[name] = true
				if mayName[name] == "" {
					t.Errorf("%s:%d names %s: read what it must know from the declaration, or say in schemas what is missing there",
						name, files.Position(node.Pos()).Line, callback)
				}
			}
			return true
		})
	})
	for name := range mayName {
		if !used[name] {
			t.Errorf("%s names no callback any more: take it off the list", name)
		}
	}
}

func TestCallbackThatIsNamedIsFound(t *testing.T) {
	t.Parallel()
	n := callbacks()
	tests := map[string]bool{
		`"user_may_create_room"`:                               true,
		`"spam_checker.user_may_create_room"`:                  true,
		"`ask user_may_create_room now`":                       true,
		`"modulebus.x.cb.spam_checker.user_may_invite.a"`:      true,
		`"my_user_may_invite_rule"`:                            false,
		`"spam_checker"`:                                       false,
		`subjects.UserMayCreateRoom`:                           true,
		`subjects.All`:                                         false,
		`&callbacksv1.UserMayCreateRoomRequest{}`:              true,
		`(*callbacksv1.UserMayCreateRoomResponse)(nil)`:        true,
		`&callbacksv1.Refusal{}`:                               false,
		`client.SpamChecker.UserMayCreateRoom(ctx, req)`:       true,
		`hooks.OnUpdate`:                                       false,
		`modulekit.SpamCheckerCallbacks{UserMayCreateRoom: f}`: true,
		`http.Callbacks{OnUpdate: f}`:                          false,
	}
	for source, want := range tests {
		x, err := parser.ParseExpr(source)
		if err != nil {
			t.Fatal(err)
		}
		got := false
		ast.Inspect(x, func(node ast.Node) bool {
			got = got || n.in(node) != ""
			return true
		})
		if got != want {
			t.Errorf("%s: %v", source, got)
		}
	}
}
