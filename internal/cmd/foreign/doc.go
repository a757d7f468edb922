// Package foreign tests web resources with published clients and servers that users will point at a module. Each suite runs
// its client three times: against the handler itself, behind a reverse proxy, and behind the tunnel. It uses the public API alone.
//
// It is a Go module of its own, so that its dependencies are not those of modulebus.
package foreign
