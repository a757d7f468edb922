package webpath

import "strings"

// Resource is a web resource that a module serves.
type Resource struct{ Module, Path string }

// Below reports whether path is parent, or lies below it.
func Below(path, parent string) bool {
	rest, ok := strings.CutPrefix(path, parent)
	return ok && (rest == "" || rest[0] == '/')
}

// Longest returns the value with the longest key that path is, or lies below.
func Longest[V any](byPath map[string]V, path string) (v V, ok bool) {
	for end := len(path); end > 0; end = strings.LastIndexByte(path[:end], '/') {
		if v, ok = byPath[path[:end]]; ok {
			return v, true
		}
	}
	return v, false
}
