package main

import (
	"context"
	"fmt"
)

// row is one line of the table.
type row interface {
	name() string
	measure(ctx context.Context, o options) (line string, err error)
}

// rows are the promises, in the order of docs and issues.
func rows() []row {
	var all []row
	all = append(all,
		versus{what: by(1, "ask of one module, no opinion, against a bare NATS request"), bar: atMost(1.15), open: askBare(1, abstain)},
		versus{what: by(1, "ask of one module, refused, against a bare NATS request"), bar: atMost(1.15), open: askBare(1, refuse)},
		versus{what: by(128, "ask of one module, no opinion, against a bare NATS request"), bar: atLeast(2), tail: 1, open: askBare(128, abstain)},
		versus{what: by(128, "ask of one module, refused, against a bare NATS request"), bar: atLeast(2), tail: 1, open: askBare(128, refuse)},
		versus{what: by(128, "ask, against HTTP/1.1 JSON"), bar: atLeast(2), open: askPeer(128, overHTTP)},
		versus{
			what: by(128, "ask in the antispam protocol, one module behind it, against HTTP/1.1 JSON"), bar: atLeast(1), tail: 1.2, open: frontDoor(128),
		},
		versus{
			what: by(128, "request of a policy server until it is signed, against the ask and its three signatures"), bar: atMost(1.5), open: signing(128),
		},
		versus{what: by(128, "ask, against gRPC unary"), bar: atLeast(2), open: askPeer(128, overGRPC)},
		unasked{},
		versus{what: by(1, "ask of ten modules that take 5 ms, against one such module"), bar: atMost(1.3), open: askTen},
		versus{what: by(1, "ask of ten modules without an opinion, against ten bare requests at once"), bar: atMost(1.5), open: askFan(10)},
		versus{what: "ask about 100 events at once, no opinion on any, against 100 asks", bar: atLeast(20), open: askBatch(false)},
		versus{what: "ask about 100 events at once, a field for each, against 100 asks", bar: atLeast(30), open: askBatch(true)},
		versus{what: by(128, "ask with a roster of 1,000 modules, against a roster of one"), bar: atMost(1.1), open: askThousand(128)},
		versus{what: by(1, "piece of news stored for a module, against telling the module"), bar: atMost(4), open: storeNews(1, false)},
		versus{what: by(128, "piece of news stored for a module, against telling the module"), bar: atLeast(0.3), open: storeNews(128, false)},
		versus{what: by(1, "piece of news on the disk for a module, against telling the module"), bar: atMost(100), open: storeNews(1, true)},
		versus{what: by(128, "piece of news on the disk for a module, against telling the module"), bar: atLeast(0.01), open: storeNews(128, true)},
		versus{what: "four worker processes, each with 8 requests that wait 5 ms, against one", bar: atLeast(3.8), open: askWorkers},
	)
	all = append(all,
		versus{what: by(128, "ask whose record is kept in memory, against one without a record"), bar: atMost(1.03), open: askObserved(128, inMemory)},
		versus{what: by(128, "ask whose record goes to JetStream, against one without a record"), bar: atMost(1.1), open: askObserved(128, inStream)},
		versus{what: by(1, "ask with credentials, against one without"), bar: atMost(1.03), open: askGuarded(1)},
		versus{what: by(128, "ask with credentials, against one without"), bar: atMost(1.03), open: askGuarded(128)},
		versus{what: by(1, "ask beside a module in shadow, against one without"), bar: atMost(1.05), open: askShadowed(1)},
		versus{what: by(8, "ask while a roster of 200 modules is reloaded, against while it stays"), bar: atMost(2), tail: 2, open: askReloaded(8)},
		untraced{},
	)
	all = append(all, residents()...)
	all = append(all, hedging{})
	for _, n := range []int{16, 128} {
		what := by(n, "GET of a web resource, against httputil.ReverseProxy")
		all = append(all, versus{what: what, bar: atLeast(1.5), open: getResource(n)})
	}
	secured := by(16, "GET of a web resource over TLS to NATS, against httputil.ReverseProxy over TLS to the module")
	all = append(all,
		versus{what: "file of 8 MiB read by check_media_file_for_spam, against a file server over HTTP", bar: atLeast(1), open: readingMedia},
		versus{what: secured, bar: atLeast(1.3), open: getSecured(16)},
		bulk{what: "response of 1 GiB of a web resource, against httputil.ReverseProxy"},
		bulk{what: "request of 1 GiB to a web resource, against httputil.ReverseProxy", upload: true},
		bulk{what: "response of 1 GiB of a web resource, NATS inside the gateway as in busd, against httputil.ReverseProxy", inside: true},
		bulk{what: "request of 1 GiB to a web resource, NATS inside the gateway as in busd, against httputil.ReverseProxy", upload: true, inside: true},
		bulk{what: "response of 1 GiB of a web resource, as if on two machines, against httputil.ReverseProxy on one", apart: true},
		bulk{what: "request of 1 GiB to a web resource, as if on two machines, against httputil.ReverseProxy on one", upload: true, apart: true},
		beside{}, idle{}, leaving{},
	)
	return all
}

func by(callers int, what string) string {
	if callers == 1 {
		return what + ", 1 caller"
	}
	return fmt.Sprintf("%s, %d callers", what, callers)
}
