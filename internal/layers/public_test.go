package layers_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// public are the packages that others import.
var public = []string{"matrix", "decision", "subjects", "bus", "bus/bustest", "modulekit", "modulekit/modulekittest", "modulekit/traces"}

// What a reader of the documentation cannot look up, a type or the value of a constant, can neither be understood nor taken
// back.
func TestPublicPackagesShowNothingInternal(t *testing.T) {
	t.Parallel()
	for _, name := range public {
		files, err := filepath.Glob(filepath.Join(root, name, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(name, err)
		}
		for _, path := range files {
			if !strings.HasSuffix(path, "_test.go") {
				showsNothingInternal(t, path)
			}
		}
	}
}

func showsNothingInternal(t *testing.T, path string) {
	t.Helper()
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	internal := map[string]bool{}
	for _, i := range file.Imports {
		if path := strings.Trim(i.Path.Value, `"`); strings.Contains(path, "/internal/") {
			internal[path[strings.LastIndexByte(path, '/')+1:]] = true
		}
	}
	ast.FileExports(file)
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BlockStmt: // Nobody is shown a body.
			return false
		case *ast.FuncDecl:
			return !ofUnexported(n)
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && internal[x.Name] {
				t.Errorf("%s shows %s.%s", set.Position(n.Pos()), x.Name, n.Sel.Name)
			}
		}
		return true
	})
}

// ofUnexported reports whether f is a method of a type that is not exported.
func ofUnexported(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return false
	}
	found := false
	ast.Inspect(f.Recv.List[0].Type, func(n ast.Node) bool {
		name, ok := n.(*ast.Ident)
		found = found || ok && !name.IsExported()
		return !found
	})
	return found
}
