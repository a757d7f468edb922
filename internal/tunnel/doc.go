// Package tunnel is the overview of how HTTP requests and responses are carried as message frames. A truncated message
// is never mistaken for a complete one. It has no code; the code is in these packages:
//
//   - [github.com/modulebus/modulebus/internal/tunnel/frame]: the frames and their bytes
//   - [github.com/modulebus/modulebus/internal/tunnel/flow]: what both ends of a stream have, with credit and memory
//   - [github.com/modulebus/modulebus/internal/tunnel/gateway]: the [http.Handler] on the internet's side
//   - [github.com/modulebus/modulebus/internal/tunnel/worker]: any [http.Handler] on the module's side
//   - [github.com/modulebus/modulebus/internal/tunnel/natstransport]: how frames travel over NATS
//   - [github.com/modulebus/modulebus/internal/tunnel/nearby]: how large bodies travel between processes of one machine
//
// The law: a client cannot tell a handler behind the tunnel from the same handler mounted directly, except that
// hop-by-hop fields and a Service-Worker-Allowed beyond the resource's own path are not passed on, X-Forwarded-* are
// set, and a response of up to 32 KiB states its Content-Length where net/http would use chunks.
//
// A small request is one frame, and so is a small response. Everything else is a stream: each side says how much it
// accepts (credit), and each part of a body says where in the body it belongs.
//
// # Order
//
// Values of one field name keep their order. Order between different names is not kept; HTTP gives it no meaning. Frames
// of one [flow.Channel] are expected in order. A frame that is lost, doubled or late is noticed, and ends its stream.
//
// # Failure
//
// A response is complete, or the client sees that it is not: an error instead of it, or a connection that breaks. Every
// error made by the gateway rather than by the module carries [gateway.ErrorHeader], and a module cannot forge it: the
// prefix [frame.ReservedPrefix] is stripped in both directions. Another worker is asked only if the first has certainly
// not begun, or if doing the work twice does no harm.
//
// # Memory
//
// The bytes that may be under way to a process are bounded for all streams together, whatever their number and however
// slow their readers. An idle stream holds no buffer.
package tunnel
