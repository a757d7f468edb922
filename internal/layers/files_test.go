package layers_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// walked are the packages that an ask and a web request pass through, from the caller to the module and back.
var walked = []string{
	"bus", "modulekit", "internal/combine", "internal/natsrequest", "internal/responder",
	"internal/tunnel/frame", "internal/tunnel/flow", "internal/tunnel/gateway", "internal/tunnel/worker", "internal/tunnel/natstransport",
	"internal/tunnel/nearby", "internal/busd/door/httpdoor",
}

// Whoever follows an ask, or a web request, finds each method in the file of its type, or in one that is named after no type: never
// in the file of another type. Exported methods may stand by subject, as ServeModuleAPI of Client does in module_api.go.
func TestMethodsStandInNoOtherTypesFile(t *testing.T) {
	t.Parallel()
	for _, dir := range walked {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
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
		if stem := strings.TrimSuffix(filepath.Base(path), ".go"); !strings.HasSuffix(stem, "_test") && !strings.HasSuffix(stem, "_gen") {
			declarations(t, path, stem, types, methods)
		}
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
