// Package tunnel carries HTTP over a bus of messages: one request frame out, one reply frame back.
//
// The gateway is an [http.Handler] that stands on the internet's side; a worker is any [http.Handler] on the module's
// side. Between them is a [Carrier], which moves bytes and knows nothing of HTTP:
//
//	http.ListenAndServe(addr, tunnel.NewGateway(carrier, tunnel.GatewayOptions{}))
//
//	reply := tunnel.Serve(ctx, handler, msg.Data, maxFrame, logPanic) // for each message the worker receives
//
// The law: a client cannot tell a handler behind the tunnel from the same handler mounted directly, except that
// hop-by-hop fields stay at the hop, X-Forwarded-* are set, and a reply of any size states its Content-Length where
// net/http would fall back to chunks.
//
// # Order
//
// Values of one field name keep their order. Order between different names is not kept; HTTP gives it no meaning.
//
// # Failure
//
// An answer is whole or it is an error; it is never cut. Every error made here rather than by the module carries
// [ErrorHeader], and a module cannot forge it: the prefix [ReservedPrefix] is stripped in both directions.
//
// # Concurrency
//
// Everything here may be used from any number of goroutines. Nothing here starts one.
//
// # Limits
//
// A request and a reply each fit one frame. Bodies that outgrow it, informational (1xx) responses, upgrades and
// cancelling a running handler need streams, for which the frame types are reserved.
package tunnel
