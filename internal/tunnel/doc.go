// Package tunnel carries HTTP over a bus of messages, so that nobody takes for whole what is not.
//
// A [Gateway] is the [http.Handler] on the internet's side; a [Worker] lets any [http.Handler] answer on the module's
// side. Between them is a [Line], which moves frames and knows nothing of HTTP:
//
//	g := tunnel.NewGateway(carrier, tunnel.GatewayOptions{})
//	http.ListenAndServe(addr, g)               // and g.Receive for each frame that comes
//
//	w := tunnel.NewWorker(line, tunnel.WorkerOptions{})
//	w.Serve(ctx, handler, from, frame)         // for each request, and w.Receive for other frames
//
// The law: a client cannot tell a handler behind the tunnel from the same handler mounted directly, except that
// hop-by-hop fields stay at the hop, X-Forwarded-* are set, and a response of up to 32 KiB states its Content-Length where
// net/http would fall back to chunks.
//
// A small request is one frame, and so is a small response. All else is a stream: each side has said how much it takes
// (credit), and each part of a body says where in the body it belongs.
//
// # Order
//
// Values of one field name keep their order. Order between different names is not kept; HTTP gives it no meaning. Frames
// of one [Channel] are expected in order. A frame that is lost, doubled or late is noticed, and ends its stream.
//
// # Failure
//
// A response is whole, or the client sees that it is not: an error instead of it, or a connection that breaks. Every error
// made here rather than by the module carries [ErrorHeader], and a module cannot forge it: the prefix [ReservedPrefix] is
// stripped in both directions. Another worker is asked where that cannot do the work twice, or does no harm.
//
// # Concurrency
//
// Everything here may be used from any number of goroutines. What takes frames never waits. The goroutines that are
// started here end with their request, or with the connection that was hijacked.
//
// # Memory
//
// What may be under way to a process is bounded for all streams together, whatever their number and however slow their
// readers. A stream that says nothing holds no buffer.
package tunnel
