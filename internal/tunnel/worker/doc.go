// Package worker lets any [http.Handler] answer requests that arrive as frames:
//
//	w := worker.New(transport, worker.Options{})
//	w.Serve(ctx, handler, from, frame)         // for each request, and w.Receive for other frames
//
// Frames are received (Receive), and bodies are read by handlers. What receives frames never blocks. The goroutines that
// are started here end with their request, or with the connection that a handler hijacked.
package worker
