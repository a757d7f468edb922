// Package gateway serves modules' web resources to HTTP clients: an [http.Handler] that sends each request as frames to a
// worker of the module, and writes the client what comes back.
//
//	g := gateway.New(transport, route, gateway.Options{})
//	http.ListenAndServe(addr, g)               // and g.Receive for each frame that comes
//
// Frames are received (Receive), and parts of a response are read by the goroutine that serves its client. What receives
// frames never blocks. The goroutines that are started here end with their request.
package gateway
