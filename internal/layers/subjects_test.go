package layers_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// writesSubjects are the folders whose files may write a subject out: the grammar itself, and a benchmark of NATS alone. The
// generator is among them because the names of protobuf packages begin like subjects, as those of attributes of spans do, and the
// memory of the roster because it makes the name of a file from a token.
const writesSubjects = "subjects/ internal/cmd/bench/ internal/cmd/schemagen/ internal/spans/ internal/busd/roster/memory.go"

// Every subject comes from package subjects. Other packages neither write one out nor put one together from tokens.
func TestSubjectsAreBuiltOnlyInSubjects(t *testing.T) {
	t.Parallel()
	handWritten(t, func(name string) {
		if covers(writesSubjects, name) {
			return
		}
		files, file := parse(t, name, parser.SkipObjectResolution)
		ast.Inspect(file, func(node ast.Node) bool {
			if buildsSubject(node) {
				t.Errorf("%s:%d puts a subject together: use or add a method of subjects.Server", name, files.Position(node.Pos()).Line)
			}
			return true
		})
	})
}

// buildsSubject reports whether a node is a subject that is written out, or a token with something added to it, also before a server
// is given it.
func buildsSubject(node ast.Node) bool {
	switch node := node.(type) {
	case *ast.CallExpr:
		f, ok := node.Fun.(*ast.SelectorExpr)
		return ok && lastName(f.X) == "server" && slices.ContainsFunc(node.Args, isTwoTokens)
	case *ast.BasicLit:
		text, err := strconv.Unquote(node.Value)
		return err == nil && node.Kind == token.STRING && strings.HasPrefix(text, "modulebus.")
	case *ast.BinaryExpr:
		return node.Op == token.ADD && (isSubjectPart(node.X) || isSubjectPart(node.Y))
	}
	return false
}

// isSubjectPart reports whether x is what package subjects, or a method of one of its types, returned as part of a subject.
func isSubjectPart(x ast.Expr) bool {
	call, ok := x.(*ast.CallExpr)
	if !ok {
		return false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	return ok && (lastName(f.X) == "subjects" || lastName(f.X) == "server")
}

// isTwoTokens reports whether x adds something to a dot.
func isTwoTokens(x ast.Expr) bool {
	sum, ok := x.(*ast.BinaryExpr)
	if !ok || sum.Op != token.ADD {
		return false
	}
	dot, ok := sum.Y.(*ast.BasicLit)
	return ok && dot.Value == `"."` || isTwoTokens(sum.X)
}

func TestSubjectThatIsBuiltIsFound(t *testing.T) {
	t.Parallel()
	tests := map[string]bool{
		`"modulebus.example%2Ecom.roster.get"`:      true,
		`subjects.Token(module) + "." + name`:       true,
		`"x." + subjects.Token(module)`:             true,
		`l.server.Roster() + ".more"`:               true,
		`l.server.Stream(l.module+"."+l.name, "x")`: true,
		`"modulebus"`:                                  false,
		`subjects.For(name).Roster()`:                  false,
		`subjects.Find(category + "." + name)`:         false,
		`f("X-Modulebus-Timeout: " + d.Subjects())`:    false,
		`"module " + subjects.UserMayCreateRoom.Name`:  false,
		`fmt.Sprint(subjects.Token(module), " is it")`: false,
	}
	for source, want := range tests {
		x, err := parser.ParseExpr(source)
		if err != nil {
			t.Fatal(err)
		}
		got := false
		ast.Inspect(x, func(node ast.Node) bool {
			got = got || buildsSubject(node)
			return true
		})
		if got != want {
			t.Errorf("%s: %v", source, got)
		}
	}
}
