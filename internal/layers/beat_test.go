package layers_test

import (
	"go/ast"
	"go/parser"
	"regexp"
	"strings"
	"testing"
)

// paced finds what a comment says of how often something happens.
var paced = regexp.MustCompile(`(?i)\b(once|twice|times|every|each) (a |half a |the )?second\b|\bevery \d+ ?m?s\b`)

// TestBeatIsSaidInOnePlace reads the tunnel: both sides beat as often as flow.BeatEvery says. A comment or another constant that says it
// again would be forgotten when that changes.
func TestBeatIsSaidInOnePlace(t *testing.T) {
	t.Parallel()
	tickers := 0
	handWritten(t, func(name string) {
		if !strings.HasPrefix(name, "internal/tunnel/") || strings.HasPrefix(name, "internal/tunnel/tunneltest/") {
			return
		}
		files, file := parse(t, name, parser.ParseComments)
		for _, group := range file.Comments {
			if text := group.Text(); strings.Contains(strings.ToLower(text), "beat") && paced.MatchString(text) {
				t.Errorf("%s:%d says how often a heartbeat is: refer to flow.BeatEvery", name, files.Position(group.Pos()).Line)
			}
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if pace := paceOf(node); pace != "" {
				if tickers++; pace != "flow.BeatEvery" {
					t.Errorf("%s:%d beats at a pace of its own, and not at flow.BeatEvery", name, files.Position(node.Pos()).Line)
				}
			}
			return true
		})
	})
	if tickers == 0 {
		t.Error("nothing beats any more where this test looks")
	}
}

// paceOf is what a ticker is made with: a name of another package as it is written, and "?" for all else; empty for what is no ticker.
func paceOf(node ast.Node) string {
	call, ok := node.(*ast.CallExpr)
	if !ok || len(call.Args) != 1 || selected(call.Fun) != "time.NewTicker" {
		return ""
	}
	if name := selected(call.Args[0]); name != "" {
		return name
	}
	return "?"
}

// selected is a name of another package, as it is written.
func selected(e ast.Expr) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	of, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return of.Name + "." + s.Sel.Name
}
