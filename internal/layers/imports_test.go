package layers_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const (
	module     = "github.com/modulebus/modulebus/"
	natsServer = "github.com/nats-io/nats-server/"
	anything   = "…"
)

// row says what one package may import: of this module, and of others, where … is anything but the NATS server. Its tests
// may import that, what is in tests, whatever other modules have, and the packages that are there for tests: their names
// end in test. A name that ends in / is all that begins with it.
type row struct{ own, others, tests string }

const (
	schemas  = "schemas/"
	protobuf = "google.golang.org/protobuf/"
	nats     = "github.com/nats-io/nats.go"
	logger   = "github.com/rs/zerolog"

	opentelemetry = "go.opentelemetry.io/otel"
)

// suite is what the suites of integration/ may import, and what they share: whatever there is.
var suite = row{
	own:    "decision matrix bus bus/ modulekit modulekit/ integration/testbed internal/ cmd/ subjects " + schemas,
	others: anything + " " + natsServer,
}

// The house, from the ground up. Whoever adds a package adds a row. One whose name ends in / is that of all packages below it that
// have none.
var house = map[string]row{
	"schemas":              {},
	"schemas/callbacks/v1": {others: protobuf},
	"schemas/moduleapi/v1": {own: schemas, others: protobuf},
	"schemas/roster/v1":    {own: schemas, others: protobuf},
	"subjects":             {own: schemas, others: protobuf},

	"matrix": {},

	"internal/credentials": {others: anything},

	"internal/busopts":     {own: "internal/natsrequest internal/wire subjects " + schemas, others: protobuf},
	"internal/natsrequest": {own: "internal/batch internal/wire " + schemas, others: nats, tests: "subjects"},

	"internal/spans": {own: "internal/wire", others: nats + " " + opentelemetry},

	"internal/otlp": {others: opentelemetry + " golang.org/x/net/http/httpguts"},

	"internal/declared": {own: "subjects " + schemas, others: protobuf},
	"decision":          {},
	"internal/combine":  {own: schemas, others: protobuf, tests: "subjects"},
	"internal/antispam": {own: "matrix subjects " + schemas, others: protobuf, tests: "internal/wire"},
	"internal/redact":   {own: schemas, others: protobuf, tests: "subjects"},

	"internal/redact/redacttest": {own: schemas, others: protobuf},

	"internal/responder": {own: "internal/batch internal/redact internal/wire subjects " + schemas, others: nats + " " + logger + " " + protobuf, tests: "internal/natstest"},
	"internal/webpath":   {},

	"internal/tunnel":               {tests: "internal/tunnel/ internal/webpath"},
	"internal/tunnel/frame":         {tests: "internal/tunnel/"},
	"internal/tunnel/flow":          {own: "internal/tunnel/frame"},
	"internal/tunnel/gateway":       {own: "matrix internal/proxied internal/tunnel/frame internal/tunnel/flow internal/webpath", tests: "internal/tunnel/"},
	"internal/tunnel/worker":        {own: "internal/tunnel/frame internal/tunnel/flow", tests: "internal/tunnel/ internal/webpath"},
	"internal/tunnel/nearby":        {own: "internal/tunnel/frame internal/tunnel/flow", others: "golang.org/x/sys/unix"},
	"internal/tunnel/natstransport": {own: "internal/tunnel/frame internal/tunnel/flow internal/tunnel/nearby internal/webpath internal/wire subjects " + schemas, others: nats},
	"internal/tunnel/tunneltest":    {own: "internal/tunnel/ internal/webpath"},

	"internal/combine/combinetest": {own: "internal/combine subjects " + schemas, others: protobuf + " pgregory.net/rapid"},

	"internal/batch": {own: "internal/wire", tests: schemas},
	"internal/wire":  {own: "matrix subjects " + schemas, others: protobuf + " " + nats},

	"internal/rosterwire": {own: schemas, others: protobuf + " " + nats, tests: "internal/natstest"},

	"bus": {
		own:    "matrix internal/busopts internal/combine internal/declared internal/natsrequest internal/redact internal/responder internal/rosterwire internal/spans internal/tunnel/ internal/webpath internal/wire subjects " + schemas,
		others: anything,
		tests:  "modulekit internal/busd internal/busd/",
	},
	"bus/bustest": {own: "bus internal/busopts internal/natsrequest internal/wire subjects " + schemas, others: protobuf + " " + nats},

	"internal/proxied": {},
	"internal/kitopts": {own: "decision subjects " + schemas, others: protobuf},
	"modulekit": {
		own:    "decision internal/credentials internal/declared internal/kitopts internal/redact internal/responder internal/spans internal/tunnel/ internal/webpath internal/wire matrix subjects " + schemas,
		others: anything,
		tests:  "internal/busd/config internal/busd/roster internal/busd/store internal/natstest",
	},
	"modulekit/traces":        {own: "internal/otlp", others: opentelemetry},
	"modulekit/modulekittest": {own: "matrix decision modulekit internal/kitopts internal/webpath internal/wire subjects " + schemas, others: protobuf + " " + nats + " " + logger},

	"internal/busd": {
		own:    "bus internal/busopts internal/busd/ internal/declared internal/rosterwire internal/wire subjects " + schemas,
		others: anything,
		tests:  "internal/freeport",
	},
	"internal/busd/access":                {own: "matrix internal/busd/config internal/busd/renewed internal/proxied", others: anything},
	"internal/busd/renewed":               {others: logger},
	"internal/busd/statedir":              {},
	"internal/busd/statedir/statedirtest": {},
	"internal/busd/sse":                   {},
	"internal/busd/page": {
		own:    "decision internal/busd/access internal/busd/door internal/busd/door/operatordoor internal/busd/records internal/busd/roster internal/busd/sse internal/webpath",
		others: anything,
		tests:  "bus internal/ subjects " + schemas,
	},
	"internal/busd/pid1":            {},
	"internal/busd/admission":       {own: "internal/busd/broker internal/busd/identity subjects", others: anything, tests: "internal/busd/config internal/natstest"},
	"internal/busd/broker":          {own: "internal/busd/certs internal/busd/config internal/busd/identity internal/credentials subjects", others: anything + " " + natsServer, tests: "internal/freeport"},
	"internal/busd/certs/certstest": {},
	"internal/busd/certs":           {own: "internal/busd/config internal/busd/renewed", others: anything},
	"internal/busd/door": {
		own:    "matrix bus internal/busd/access internal/busd/config internal/busd/records internal/wire internal/webpath subjects " + schemas,
		others: anything,
	},
	"internal/busd/door/": { // Each front door is a folder.
		own:    "matrix bus internal/antispam internal/busd/access internal/busd/certs internal/busd/config internal/busd/door internal/busd/policyserver internal/busd/records internal/busd/roster internal/busd/sse internal/busd/supervise decision internal/declared internal/responder internal/rosterwire internal/spans internal/webpath internal/wire subjects " + schemas,
		others: anything,
		tests:  "internal/busd/door/ internal/busd/page",
	},
	"internal/busd/door/doortest": {
		own:    "bus internal/busd/access internal/busd/config internal/busd/door internal/busd/door/ internal/busd/records internal/busd/roster internal/busd/supervise internal/natstest internal/waittest subjects " + schemas,
		others: anything,
	},
	"internal/busd/homeserver":                    {own: "matrix bus internal/busd/certs internal/busd/config internal/busd/renewed internal/spans internal/wire subjects " + schemas, others: anything},
	"internal/busd/identity":                      {own: "subjects " + schemas, others: anything + " " + natsServer},
	"internal/busd/policyserver":                  {own: "matrix bus subjects " + schemas, others: anything, tests: "internal/busd/policyserver/policyservertest"},
	"internal/busd/policyserver/policyservertest": {others: anything},
	"internal/busd/cli": {
		own:    "internal/busd internal/busd/ decision internal/declared internal/otlp internal/redact internal/wire subjects schemas " + schemas,
		others: anything,
		tests:  "modulekit",
	},
	"internal/busd/antispam": {
		own:    "internal/antispam internal/busd/config internal/busd/renewed internal/kitopts modulekit subjects " + schemas,
		others: anything,
		tests:  "internal/natstest",
	},
	"internal/busd/config": {own: "internal/antispam internal/wire subjects " + schemas, others: anything},
	"internal/busd/records": {
		own:    "bus decision internal/busd/config internal/busd/replay internal/busd/store internal/combine internal/redact internal/spans internal/wire subjects " + schemas,
		others: anything, tests: "internal/ " + natsServer,
	},
	"internal/busd/replay": {
		own:    "internal/busd/config internal/combine decision internal/wire subjects " + schemas,
		others: anything, tests: "bus internal/ " + natsServer,
	},
	"internal/busd/roster":   {own: "internal/busd/config internal/busd/statedir internal/responder internal/rosterwire internal/webpath internal/wire subjects " + schemas, others: anything, tests: "internal/busd internal/freeport"},
	"internal/busd/childlog": {others: anything},
	"bridges/python":         {},
	"internal/busd/synapse":  {own: "bridges/python subjects " + schemas, others: anything, tests: "internal/busd/config"},
	"internal/busd/news":     {own: "internal/busd/config internal/busd/store internal/declared internal/redact internal/rosterwire internal/wire subjects " + schemas, others: anything, tests: "internal/ " + natsServer},
	"internal/busd/verify": {
		own:    "bus internal/busd/admission internal/busd/broker internal/busd/config internal/busd/identity internal/busd/store internal/busd/supervise internal/declared internal/wire matrix subjects " + schemas,
		others: anything, tests: "modulekit",
	},
	"internal/busd/store":     {own: "internal/responder internal/wire subjects " + schemas, others: anything, tests: "internal/natstest"},
	"internal/busd/supervise": {own: "internal/busd/childlog", others: anything},

	"cmd/busd":          {own: "internal/busd/cli internal/busd/pid1"},
	"cmd/demo-module":   {own: "modulekit " + schemas},
	"examples/clock":    {own: "modulekit"},
	"examples/traced":   {own: "modulekit modulekit/traces " + schemas},
	"examples/refusals": {own: "decision modulekit"},
	"examples/echo":     {own: "modulekit", others: anything},
	"examples/upload":   {own: "modulekit"},

	"examples/first/homeserver": {own: "bus matrix " + schemas, others: nats},

	"internal/cmd/synapsebench": {own: "internal/freeport modulekit " + schemas},

	"docs":                    {tests: anything},
	"integration/asks":        suite,
	"integration/attacks":     suite,
	"integration/busd":        suite,
	"integration/conformance": suite,
	"integration/exploration": suite,
	"integration/news":        suite,
	"integration/python":      suite,
	"integration/restarts":    suite,
	"integration/testbed":     suite,
	"integration/traces":      suite,
	"integration/web":         suite,
	"internal/layers":         {tests: "subjects"},
	"internal/natstest":       {own: "internal/freeport internal/waittest", others: nats + " " + natsServer},
	"internal/waittest":       {},
	"internal/freeport":       {},
}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

func (p pkg) name() string { return strings.TrimPrefix(p.ImportPath, module) }

func packages(t *testing.T) []pkg {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-tags", "none", "-json=ImportPath,Imports,TestImports,XTestImports,Deps", "./...")
	list.Dir = root
	var stderr bytes.Buffer
	list.Stderr = &stderr
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// covers reports whether one of the names in list is that of the import, or one that it begins with.
func covers(list, imported string) bool {
	return slices.ContainsFunc(strings.Fields(list), func(name string) bool {
		switch {
		case name == anything:
			return !strings.HasPrefix(imported, natsServer)
		case strings.HasSuffix(name, "/"):
			return strings.HasPrefix(imported, name)
		}
		return imported == name || strings.HasPrefix(imported, name+"/") && strings.Contains(name, ".")
	})
}

// standard reports whether a package is one of Go's own.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func rowOf(name string) (r row, ok bool) {
	if r, ok = house[name]; !ok {
		r, ok = house[path.Dir(name)+"/"]
	}
	return r, ok
}

func TestPackagesImportOnlyWhatTheirRowAllows(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		r, ok := rowOf(p.name())
		if !ok {
			t.Errorf("package %s has no row in %s: say there what it may import", p.name(), "internal/layers/imports_test.go")
			continue
		}
		for _, imported := range p.Imports {
			own, ours := strings.CutPrefix(imported, module)
			switch {
			case standard(imported):
			case ours && !covers(r.own, own):
				t.Errorf("%s imports %s; of this module it may import: %s", p.name(), own, r.own)
			case !ours && !covers(r.others, imported):
				t.Errorf("%s imports %s; of other modules it may import: %s", p.name(), imported, r.others)
			}
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			own, ours := strings.CutPrefix(imported, module)
			helps := strings.HasSuffix(own, "test") || own == p.name()
			if ours && !helps && !covers(r.own, own) && !covers(r.tests, own) {
				t.Errorf("the tests of %s import %s; they may import: %s %s", p.name(), own, r.own, r.tests)
			}
		}
	}
}

// A module author has no aggregator in their program, a homeserver no module's side, and neither a NATS server.
func TestPackagesOfTheTwoSidesNeverMeet(t *testing.T) {
	t.Parallel()
	side := func(name string) string {
		first, _, _ := strings.Cut(name, "/")
		return first
	}
	other := map[string]string{"bus": "modulekit", "modulekit": "bus"}
	for _, p := range packages(t) {
		forbidden := other[side(p.name())]
		if forbidden == "" {
			continue
		}
		for _, imported := range slices.Concat(p.Deps, p.TestImports) { // An external test may put both on one NATS.
			own, ours := strings.CutPrefix(imported, module)
			if ours && side(own) == forbidden {
				t.Errorf("%s depends on %s", p.name(), own)
			}
		}
		for _, imported := range p.Deps {
			if strings.HasPrefix(imported, natsServer) {
				t.Errorf("%s depends on %s", p.name(), imported)
			}
		}
	}
}

// The deciding and the framing have no network, no clock and no logger, so that they can be tested without.
func TestPurePackagesStayPure(t *testing.T) {
	t.Parallel()
	never := map[string]string{
		"internal/combine": "github.com/nats-io/ " + logger + " context log log/slog math/rand math/rand/v2 net net/http os time",
		"matrix":           "github.com/nats-io/ " + logger + " context log log/slog net os time",
		"internal/webpath": "github.com/nats-io/ " + logger + " context log log/slog math/rand math/rand/v2 net net/http os time",

		"internal/tunnel/frame":   "github.com/nats-io/ " + logger + " context log log/slog math/rand math/rand/v2 net os",
		"internal/tunnel/flow":    "github.com/nats-io/ " + logger + " net net/http",
		"internal/tunnel/gateway": "github.com/nats-io/ " + logger,
		"internal/tunnel/worker":  "github.com/nats-io/ " + logger,
	}
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if covers(never[p.name()], imported) {
				t.Errorf("%s imports %s", p.name(), imported)
			}
		}
		for _, imported := range p.Deps {
			if !standard(imported) && covers(never[p.name()], imported) {
				t.Errorf("%s depends on %s", p.name(), imported)
			}
		}
	}
}

func TestNATSServerIsOnlyWhereItRuns(t *testing.T) {
	t.Parallel()
	runs := "internal/busd internal/busd/ cmd/busd integration/ internal/natstest"
	for _, p := range packages(t) {
		for _, imported := range p.Deps {
			if strings.HasPrefix(imported, natsServer) && !covers(runs, p.name()) {
				t.Errorf("%s depends on %s", p.name(), path.Dir(imported))
				break
			}
		}
	}
}
