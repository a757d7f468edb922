// Command echo is an example of a module with a WebSocket: what its page sends comes back, text and binary. Any library
// that serves WebSockets over net/http will do.
package main

import (
	_ "embed"
	"net/http"

	"github.com/coder/websocket"

	"github.com/modulebus/modulebus/modulekit"
)

const path = "/_synapse/client/echo"

//go:embed page.html
var page []byte

var module = modulekit.Module[struct{}]{Version: "1.0.0", New: newEcho}

func main() { modulekit.Main(module) }

func newEcho(_ struct{}, api *modulekit.ModuleAPI) error {
	pages := http.NewServeMux()
	pages.HandleFunc("GET "+path, show)
	pages.HandleFunc("GET "+path+"/socket", echo)
	api.RegisterWebResource(path, pages)
	return nil
}

func show(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page)
}

// echo goes on until either side closes, or the gateway is lost: then the context ends. Messages may have 32 KiB, which
// is the library's default.
func echo(w http.ResponseWriter, r *http.Request) {
	socket, err := websocket.Accept(w, r, nil) // Pages of other sites are refused.
	if err != nil {
		return // Accept has said so to the client.
	}
	defer func() { _ = socket.CloseNow() }() // After Read has answered a close, it has nothing left to do.
	for {
		kind, message, err := socket.Read(r.Context())
		if err != nil {
			return
		}
		if err := socket.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}
