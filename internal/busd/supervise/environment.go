package supervise

import (
	"slices"
	"strings"
)

// inherited are the variables of busd that every worker gets: those with which programs find files, other programs, the
// network and the operator's language. Secrets, and variables that are meant for busd alone, are not among them. See
// ADR 26.
var inherited = strings.Fields(`
	PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TMPDIR TERM
	XDG_CACHE_HOME XDG_CONFIG_HOME XDG_DATA_HOME XDG_RUNTIME_DIR
	SSL_CERT_FILE SSL_CERT_DIR
	HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY http_proxy https_proxy no_proxy all_proxy
	GOBIN GOCACHE GOCOVERDIR GODEBUG GOENV GOEXPERIMENT GOFLAGS GOGC GOINSECURE GOMAXPROCS GOMEMLIMIT GOMODCACHE GONOPROXY GONOSUMDB
	GOPATH GOPRIVATE GOPROXY GORACE GOROOT GOSUMDB GOTMPDIR GOTOOLCHAIN GOTRACEBACK GOWORK CGO_ENABLED CC CXX
	LD_LIBRARY_PATH NODE_PATH NODE_EXTRA_CA_CERTS VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE`)

// Environment returns the variables of environ that every worker gets, and the named ones.
func Environment(environ, named []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return !slices.Contains(inherited, name) && !strings.HasPrefix(name, "LC_") && !slices.Contains(named, name)
	})
}
