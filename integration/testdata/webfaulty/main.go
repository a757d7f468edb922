// Command webfaulty is a module whose web resource does what it is told: what of a response there is, before it or its
// gateway is killed, stopped or drained.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/coder/websocket"

	"github.com/modulebus/modulebus/modulekit"
)

func main() {
	modulekit.Main(modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterWebResource("/f", http.HandlerFunc(serve))
		return nil
	}})
}

// waits do something, and return when they cannot go on or have no more to do than wait.
var waits = map[string]http.HandlerFunc{
	"/f/wait": func(http.ResponseWriter, *http.Request) {},
	"/f/head": func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "begun")
		_ = http.NewResponseController(w).Flush()
	},
	"/f/events": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: begun\n\n")
		_ = http.NewResponseController(w).Flush()
	},
	"/f/stream": func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write(make([]byte, 32<<10))
		}
	},
	"/f/hold": func(_ http.ResponseWriter, r *http.Request) {
		_, _ = r.Body.Read(make([]byte, 1))
		fmt.Println("holds")
	},
	"/f/upload": func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		fmt.Println("read:", err)
	},
	"/f/socket": func(w http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(w, r, nil)
		for err == nil {
			var message []byte
			if _, message, err = socket.Read(r.Context()); err == nil {
				err = socket.Write(r.Context(), websocket.MessageText, message)
			}
		}
	},
}

func serve(w http.ResponseWriter, r *http.Request) {
	fmt.Println("asked", r.URL.Path)
	path, then, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/f/"), "/")
	switch wait, ok := waits["/f/"+path]; {
	case ok:
		wait(w, r)
		<-r.Context().Done()
		fmt.Println("ended:", context.Cause(r.Context()), r.URL.Path)
	case path == "panic" && then == "head":
		waits["/f/head"](w, r)
		panic("told to")
	case path == "panic":
		panic("told to")
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, os.Getpid())
	}
}
