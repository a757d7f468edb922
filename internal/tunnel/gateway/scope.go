package gateway

import (
	"slices"
	"strings"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// scoped leaves out a Service-Worker-Allowed for more than what lies below the resource's own path. By it a page says how far its service worker
// may reach, which then answers in the place of all that is there under the same name and port: other modules' pages, the operator's, and
// the homeserver itself. A browser lets a page decide that for its whole host, where here the host is many people's. See ADR 90.
func scoped(fields []frame.Field, resource string) []frame.Field {
	return slices.DeleteFunc(fields, func(f frame.Field) bool {
		return f.Name == "Service-Worker-Allowed" && !reachesBelow(f.Value, resource)
	})
}

// reachesBelow reports whether a browser takes a scope for paths below a resource alone, whatever it makes of dots, escapes and blanks.
func reachesBelow(scope, resource string) bool {
	return strings.HasPrefix(scope, strings.TrimSuffix(resource, "/")+"/") && !strings.ContainsAny(scope, "%\\\t ,") && !strings.Contains(scope, "/.")
}
