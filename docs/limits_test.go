package docs_test

import (
	"fmt"
	"go/ast"
	"go/constant"
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
	"time"
)

// limit is a constant of the product that bounds something.
type limit struct {
	where  string // package and name
	what   string // what is bounded
	value  string
	beyond string // what happens then
}

const (
	limitsPage   = "docs/limits.md"
	beyondMark   = "Beyond: "
	limitsHeader = "| what | at most | beyond | where |\n|---|---|---|---|\n"
)

// isLimit matches names of constants that bound something. Each of them has to say what happens beyond it.
var isLimit = regexp.MustCompile(`^([Mm]ax|[Mm]ost)[A-Z]|[a-z](Max|Most|Limit)$`)

// TestLimitsPage holds the page of limits to the constants of the product, in Go and in Python. With -update it writes the table.
func TestLimitsPage(t *testing.T) {
	t.Parallel()
	page := read(t, limitsPage)
	before, _, found := strings.Cut(page, limitsHeader)
	if !found {
		t.Fatalf("%s has no place for the table of limits", limitsPage)
	}
	want := before + limitsHeader + limitsTable(t)
	if *update && want != page {
		if err := os.WriteFile(filepath.Join(root, limitsPage), []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		page = want
	}
	if page != want {
		t.Errorf("%s is stale: type go generate ./docs", limitsPage)
	}
}

func limitsTable(t *testing.T) string {
	t.Helper()
	all := packages(t)
	var rows []limit
	for dir, p := range all {
		if strings.HasPrefix(dir, "internal/cmd") || strings.HasPrefix(dir, "integration") || strings.HasSuffix(dir, "test") {
			continue
		}
		rows = append(rows, limitsOf(t, dir, p)...)
	}
	for _, file := range files(t, ".py") {
		if strings.HasPrefix(file, "bridges/") && !strings.Contains(file, "/tests/") {
			rows = append(rows, limitsOfPython(t, file)...)
		}
	}
	slices.SortFunc(rows, func(a, b limit) int { return strings.Compare(a.where, b.where) })
	var table strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&table, "| %s | %s | %s | `%s` |\n", r.what, r.value, r.beyond, r.where)
	}
	return table.String()
}

// limitsOf returns the limits that a package declares.
func limitsOf(t *testing.T, dir string, p *pkg) (rows []limit) {
	t.Helper()
	values := map[string]ast.Expr{}
	each := func(do func(*ast.GenDecl, *ast.ValueSpec)) {
		for _, f := range p.files {
			for _, d := range f.Decls {
				if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
					for _, s := range g.Specs {
						do(g, s.(*ast.ValueSpec))
					}
				}
			}
		}
	}
	each(func(_ *ast.GenDecl, s *ast.ValueSpec) {
		for i, v := range s.Values {
			values[s.Names[i].Name] = v
		}
	})
	each(func(g *ast.GenDecl, s *ast.ValueSpec) {
		name := s.Names[0].Name
		text := comment(g, s)
		what, beyond, says := strings.Cut(text, beyondMark)
		switch {
		case says:
			value := evaluate(t, dir+"."+name, s.Values[0], values)
			rows = append(rows, limit{path.Base(dir) + "." + name, subject(name, what), amount(value, s.Values[0], what), strings.TrimSuffix(beyond, ".")})
		case isLimit.MatchString(name):
			t.Errorf("%s: constant %s bounds something; say in its comment what happens then: %q", dir, name, beyondMark+"…")
		}
	})
	return rows
}

var (
	// pythonName is a name with a number, and what is said of it below.
	pythonName = regexp.MustCompile(`(?m)^ *(\w+)(?:: \w+)? = ([\d.(][^\n#]*)(?:  #[^\n]*)?\n(?: *"""([^"]*)""")?`)

	isPythonLimit = regexp.MustCompile(`^_?(MAX|MOST)_|_(MAX|LIMIT)$`)
)

// limitsOfPython returns the limits that a module of the bridges declares.
func limitsOfPython(t *testing.T, file string) (rows []limit) {
	t.Helper()
	where := path.Base(path.Dir(file)) + "." + strings.TrimSuffix(path.Base(file), ".py") + "."
	for _, m := range pythonName.FindAllStringSubmatch(read(t, file), -1) {
		what, beyond, says := strings.Cut(strings.Join(strings.Fields(m[3]), " "), beyondMark)
		what = strings.Replace(what, "How", "how", 1)
		switch {
		case says:
			rows = append(rows, limit{where + m[1], subject(m[1], what), pythonAmount(t, where+m[1], m[2], what), strings.TrimSuffix(beyond, ".")})
		case isPythonLimit.MatchString(m[1]):
			t.Errorf("%s: %s bounds something; say below it what happens then: %q", file, m[1], beyondMark+"…")
		}
	}
	return rows
}

// pythonAmount writes a value as amount does. What a number of seconds is says so.
func pythonAmount(t *testing.T, where, text, what string) string {
	t.Helper()
	e, err := parser.ParseExpr(text)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	value := evaluate(t, where, e, nil)
	if strings.Contains(what, "seconds") {
		seconds, _ := constant.Float64Val(value)
		return time.Duration(seconds * float64(time.Second)).String()
	}
	return amount(value, e, what)
}

// comment is all that is said of a constant, on one line.
func comment(g *ast.GenDecl, s *ast.ValueSpec) string {
	var parts []string
	for _, c := range []*ast.CommentGroup{s.Doc, s.Comment} {
		if c != nil {
			parts = append(parts, c.Text())
		}
	}
	if len(parts) == 0 && len(g.Specs) == 1 && g.Doc != nil {
		parts = append(parts, g.Doc.Text())
	}
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}

// subject is what a comment says of a constant, without the constant's name.
func subject(name, what string) string {
	what = strings.TrimSpace(what)
	what = strings.TrimPrefix(strings.TrimPrefix(what, name+" is "), name+" bounds ")
	what = strings.TrimPrefix(what, "the most ")
	return strings.TrimRight(what, " .;:,")
}

// evaluate computes a constant from literals, other constants of its package, and units of time.
func evaluate(t *testing.T, where string, e ast.Expr, named map[string]ast.Expr) constant.Value {
	t.Helper()
	switch e := e.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(e.Value, e.Kind, 0)
	case *ast.ParenExpr:
		return evaluate(t, where, e.X, named)
	case *ast.Ident:
		if v, ok := named[e.Name]; ok {
			return evaluate(t, where, v, named)
		}
	case *ast.SelectorExpr:
		if unit, ok := units[e.Sel.Name]; ok {
			return constant.MakeInt64(int64(unit))
		}
	case *ast.BinaryExpr:
		x, y := evaluate(t, where, e.X, named), evaluate(t, where, e.Y, named)
		if e.Op == token.SHL || e.Op == token.SHR {
			bits, _ := constant.Uint64Val(y)
			return constant.Shift(x, e.Op, uint(bits))
		}
		return constant.BinaryOp(x, e.Op, y)
	}
	t.Fatalf("%s: write this constant with numbers, other constants of its package and units of time", where)
	return nil
}

var units = map[string]time.Duration{
	"Nanosecond": time.Nanosecond, "Microsecond": time.Microsecond, "Millisecond": time.Millisecond,
	"Second": time.Second, "Minute": time.Minute, "Hour": time.Hour,
	"MaxVarintLen64": 10,
}

// amount writes a value as a person would: a time, bytes in binary units, or a number.
func amount(v constant.Value, e ast.Expr, what string) string {
	n, _ := constant.Int64Val(constant.ToInt(v))
	switch {
	case strings.Contains(source(e), "time."):
		return time.Duration(n).String()
	case strings.Contains(what, "byte"):
		return bytesOf(n)
	}
	return thousands(n)
}

func bytesOf(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size && n%unit.size == 0 {
			return strconv.FormatInt(n/unit.size, 10) + " " + unit.name
		}
	}
	return thousands(n) + " bytes"
}

func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// source is an expression, roughly as it was written.
func source(e ast.Expr) string {
	var b strings.Builder
	ast.Inspect(e, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := s.X.(*ast.Ident); ok {
				b.WriteString(id.Name + "." + s.Sel.Name + " ")
			}
		}
		return true
	})
	return b.String()
}
