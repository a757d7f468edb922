package layers_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a reader of the documentation cannot look up, a type or the value of a constant, can neither be understood nor taken
// back. It looks at signatures, fields, type parameters and constraints, embedded types, and values of every package that
// others can import.
func TestPublicPackagesShowNothingInternal(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, path := range publicFiles(t) {
		seen[filepath.ToSlash(filepath.Dir(path))] = true
		showsNothingInternal(t, path)
	}
	for _, name := range []string{"matrix", "decision", "subjects", "bus", "bus/bustest", "modulekit", "modulekit/modulekittest", "modulekit/traces"} {
		if !seen[filepath.ToSlash(filepath.Join(root, name))] {
			t.Errorf("%s was not looked at", name)
		}
	}
}

// publicFiles returns the files of packages that are neither internal, programs nor tests. Modules of Go below the root are not
// among them.
func publicFiles(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			_, own := os.Stat(filepath.Join(path, "go.mod"))
			hidden := strings.HasPrefix(entry.Name(), ".") && path != root
			if hidden || path != root && own == nil || slices.Contains([]string{"internal", "integration", "testdata", "node_modules"}, entry.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
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
		path := strings.Trim(i.Path.Value, `"`)
		if !strings.Contains(path, "/internal/") {
			continue
		}
		if i.Name != nil {
			internal[i.Name.Name] = true
		}
		internal[path[strings.LastIndexByte(path, '/')+1:]] = true
	}
	if file.Name.Name == "main" {
		return
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
