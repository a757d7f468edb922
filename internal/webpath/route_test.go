package webpath_test

import (
	"testing"

	"github.com/modulebus/modulebus/internal/webpath"
)

func TestLongestPathWins(t *testing.T) {
	t.Parallel()
	paths := map[string]string{"/a": "a", "/a/b": "b", "/a/b/c/d": "d"}
	for path, want := range map[string]string{
		"/a": "a", "/a/": "a", "/a/x": "a", "/a/b": "b", "/a/bc": "a", "/a/b/c": "b", "/a/b/c/d": "d", "/a/b/c/d/e/f": "d",
		"": "", "/": "", "/x": "", "/ab": "", "a": "",
	} {
		if got, ok := webpath.Longest(paths, path); got != want || ok != (want != "") {
			t.Errorf("%s is %q's (%v), want %q's", path, got, ok, want)
		}
	}
}
