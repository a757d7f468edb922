package supervise

import (
	"slices"
	"strings"
)

// inherited are the variables that every worker gets: what programs need to find files, other programs, the network and
// the operator's language. What is secret, and what is meant for this process alone, is not among them. See ADR 26.
var inherited = strings.Fields(`
	PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TMPDIR TERM
	XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME XDG_RUNTIME_DIR
	SSL_CERT_FILE SSL_CERT_DIR
	HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy
	GOBIN GOCACHE GOCOVERDIR GODEBUG GOENV GOEXPERIMENT GOFLAGS GOGC GOINSECURE GOMAXPROCS GOMEMLIMIT GOMODCACHE GONOPROXY GONOSUMDB
	GOPATH GOPRIVATE GOPROXY GORACE GOROOT GOSUMDB GOTMPDIR GOTOOLCHAIN GOTRACEBACK GOWORK CGO_ENABLED CC CXX
	LD_LIBRARY_PATH NODE_PATH NODE_EXTRA_CA_CERTS VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE`)

// Environment returns those of environ that every worker gets, and those that are named.
func Environment(environ, named []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return !slices.Contains(inherited, name) && !strings.HasPrefix(name, "LC_") && !slices.Contains(named, name)
	})
}
