package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const head = "server_name: example.com\nmodules:\n"

// laughs grows by the power of ten with each level.
func laughs(levels int) string {
	var b strings.Builder
	fmt.Fprint(&b, head, "  - module: m\n    config:\n      a0: &a0 [lol]\n")
	for i := range levels {
		fmt.Fprintf(&b, "      a%d: &a%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 10))
	}
	return b.String()
}

func TestLimits(t *testing.T) {
	t.Parallel()
	entries := strings.Repeat("x,", 1000)
	for _, tt := range []struct{ name, yaml, want string }{
		{"a large file", strings.Repeat("#", maxFile+1), "busd.yaml:1:1: is larger than 1 MiB"},
		{"a bomb of lists", laughs(30), "aliases make the file too large to read"},
		{"a bomb of text", head + "  - module: m\n    config: [&a " + strings.Repeat("x", 500_000) + strings.Repeat(",*a", 50_000) + "]\n", "aliases make"},
		{"a bomb of merges", head + "  - module: m\n    config: [&a {<<: [*a" + strings.Repeat(",*a", 50_000) + "]}]\n", "contains itself"},
		{"a bomb of modules", head + "  - &a {" + keysOf(20_000) + "}\n" + strings.Repeat("  - *a\n", 30_000), "more problems after these 1000"},
		{"deep lists", head + "  - {module: m, config: " + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}\n", "is nested more than 100 deep"},
		{"deeper lists", strings.Repeat("[", 100_000), "exceeded max depth"},
		{"an anchor inside of another inside of it", head + "  - {module: m, config: &a {b: &b {c: [*a, *b]}}}\n", `modules[0].config.b.c[0]: contains itself (by the anchor "a")`},
		{"many problems", strings.Repeat("a: 1\n", 10_000), "busd.yaml:1001:1: a: there may be more problems after these 1000"},
		{"no problem", head + "  - module: m\n    config: {v: [&a [" + entries + "]" + strings.Repeat(",*a", 100) + "]}\n", ""},
		{"no problem at all", head + "  - module: m\n    config: {v: [" + strings.Repeat("1,", 100_000) + "]}\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("busd.yaml", []byte(tt.yaml))
			if tt.want == "" && err == nil {
				return
			}
			var problems Errors
			if !errors.As(err, &problems) || len(problems) > maxProblems+1 || !strings.Contains(err.Error(), tt.want) || tt.want == "" {
				t.Errorf("got %.2000v, want %q", err, tt.want)
			}
		})
	}
}

func keysOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%x: ,", i)
	}
	return b.String()
}
