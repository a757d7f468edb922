package webpath_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/webpath"
)

func TestCheckResource(t *testing.T) {
	t.Parallel()
	long := "/" + strings.Repeat("a", webpath.MaxLen-1)
	for _, path := range []string{
		"/_synapse/client/demo", "/_synapse/client/demo/v1/greet", "/_synapse/client/oidcx", "/_synapse/module", "/demo",
		"/.well-known/security.txt", "/.well-known/matrixx", "/_matrixx", "/healthy", "/a.b/..c/~d@e:f", "/ä/é", long,
	} {
		if err := webpath.Check(path); err != nil {
			t.Errorf("%v", err)
		}
	}
	tests := map[string]struct{ path, want string }{
		"nothing":                       {"", "must begin with a slash"},
		"the root":                      {"/", "must begin with a slash"},
		"no slash":                      {"foo/bar", "must begin with a slash"},
		"a slash at the end":            {"/foo/", `write the path as "/foo"`},
		"an empty segment":              {"/foo//bar", `write the path as "/foo/bar"`},
		"a dot":                         {"/foo/./bar", `write the path as "/foo/bar"`},
		"a way out":                     {"/_synapse/client/../admin", `write the path as "/_synapse/admin"`},
		"a way out of everything":       {"/../..", `write the path as "/"`},
		"a host":                        {"//evil.example/x", `write the path as "/evil.example/x"`},
		"an escape":                     {"/a%2Fb", "unescaped"},
		"a query":                       {"/a?b", "unescaped"},
		"a fragment":                    {"/a#b", "unescaped"},
		"a space":                       {"/a b", "without spaces"},
		"a new line":                    {"/a\r\nb", "without spaces"},
		"a NUL":                         {"/a\x00", "without spaces"},
		"half a character":              {"/a\xff", "must be UTF-8"},
		"too long":                      {long + "a", "at most 256"},
		"Matrix itself":                 {"/_matrix", "belongs to the Matrix specification"},
		"something in it":               {"/_matrix/client/unstable/org.example", "belongs to the Matrix specification"},
		"the client API, to take over":  {"/_matrix/client", "belongs to the Matrix specification"},
		"what crashes Synapse":          {"/.well-known/matrix/foo", "belongs to the Matrix specification"},
		"the server's well-known":       {"/.well-known/matrix/server", "belongs to the Matrix specification"},
		"above the well-known":          {"/.well-known", "belongs to the Matrix specification"},
		"the admin API":                 {"/_synapse/admin/v1/users", "belongs to Synapse"},
		"replication":                   {"/_synapse/replication", "belongs to Synapse"},
		"above all that":                {"/_synapse", "belongs to Synapse"},
		"where modules live, the whole": {"/_synapse/client", "belongs to Synapse"},
		"a page of Synapse's":           {"/_synapse/client/pick_username/account_details", "belongs to Synapse"},
		"health":                        {"/health", "belongs to Synapse"},
		"the front door":                {"/_modulebus/v1/ask", "belongs to busd"},
		"metrics":                       {"/metrics", "belongs to busd"},
	}
	for name, tt := range tests {
		if err := webpath.Check(tt.path); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %q: got %v, want %q", name, tt.path, err, tt.want)
		}
	}
}

func TestPathBelowAModulesIsItsToo(t *testing.T) {
	t.Parallel()
	segment := rapid.StringMatching(`[a-z_.]{1,12}|_matrix|_synapse|client|admin|health|ä`)
	rapid.Check(t, func(t *rapid.T) {
		parent := "/" + strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(t, "parent"), "/")
		child := parent + "/" + segment.Draw(t, "child")
		taken, below := webpath.Check(parent), webpath.Check(child)
		if taken == nil && below != nil && !strings.Contains(below.Error(), "write the path as") {
			t.Fatalf("%s is free, but %v", parent, below)
		}
	})
}
