package layers_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// Whoever follows an ask, a web request or a command finds each method in the file of its type, or in one that is named after no
// type: never in the file of another type. Exported methods may stand by subject, as API of Server does in method.go.
func TestMethodsStandInNoOtherTypesFile(t *testing.T) {
	t.Parallel()
	packages := map[string][]string{}
	goFiles(t, "", func(name string) {
		dir := filepath.Dir(name)
		packages[dir] = append(packages[dir], filepath.Join(root, name))
	})
	for _, dir := range []string{"bus", "modulekit", "internal/combine", "internal/busd", "internal/busd/identity", "examples/dendrite"} {
		if len(packages[dir]) == 0 {
			t.Errorf("%s was not looked at", dir)
		}
	}
	for dir, files := range packages {
		for _, m := range misplaced(t, files) {
			t.Errorf("%s/%s", dir, m)
		}
	}
}

// misplaced returns the methods that stand in the file of another type, but exported ones of exported types.
func misplaced(t *testing.T, files []string) (found []string) {
	t.Helper()
	types, methods := map[string]string{}, map[*ast.FuncDecl]string{}
	for _, path := range files {
		declarations(t, path, strings.TrimSuffix(filepath.Base(path), ".go"), types, methods)
	}
	for m, stem := range methods {
		of, other := receiver(m), namedAfter(stem, types)
		public := ast.IsExported(of) && m.Name.IsExported()
		if !public && types[of] != stem && other != "" {
			found = append(found, stem+".go has "+m.Name.Name+" of "+of+", and is named after "+other)
		}
	}
	return found
}

// declarations adds the types and the methods of a file, each with the file's name.
func declarations(t *testing.T, path, stem string, types map[string]string, methods map[*ast.FuncDecl]string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv != nil {
				methods[n] = stem
			}
			return false
		case *ast.TypeSpec:
			types[n.Name.Name] = stem
		}
		return true
	})
}

// receiver is the name of a method's type.
func receiver(f *ast.FuncDecl) (name string) {
	ast.Inspect(f.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name
		}
		return true
	})
	return name
}

// namedAfter is the type that a file is named after; empty for none.
func namedAfter(stem string, types map[string]string) string {
	for name := range types {
		if strings.EqualFold(name, strings.ReplaceAll(stem, "_", "")) {
			return name
		}
	}
	return ""
}
