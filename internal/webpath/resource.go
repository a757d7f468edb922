package webpath

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// MaxLen is the length of a web resource's path, in bytes. Beyond: it is not registered, and the module is told.
const MaxLen = 256

// Check returns an error that says why a module cannot register the path, or nil.
func Check(p string) error {
	switch {
	case len(p) > MaxLen:
		return fmt.Errorf("web resource path of %d bytes: at most %d are possible", len(p), MaxLen)
	case !strings.HasPrefix(p, "/") || p == "/":
		return fmt.Errorf("web resource %q: the path must begin with a slash and have a segment; use /_synapse/client/…", p)
	case path.Clean(p) != p:
		return fmt.Errorf("web resource %q: write the path as %q", p, path.Clean(p))
	case !utf8.ValidString(p):
		return fmt.Errorf("web resource %q: the path must be UTF-8", p)
	case strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("?#%", r) }):
		return fmt.Errorf("web resource %q: the path is written unescaped, without spaces and without any of ? # %%", p)
	}
	return checkReserved(p)
}

// checkReserved refuses what lies below a reserved path, and what a reserved path lies below.
func checkReserved(p string) error {
	i := slices.IndexFunc(reserved, func(r Prefix) bool {
		return r.Holds(p) || Below(r.path, p)
	})
	if i < 0 {
		return nil
	}
	return fmt.Errorf("web resource %q: %s belongs to %s; use a path of your own below /_synapse/client/", p, reserved[i].path, reserved[i].owner)
}
