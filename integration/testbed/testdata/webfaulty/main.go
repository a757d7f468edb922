// Command webfaulty is a module whose web resource does what it is told: what of a response there is, before it or its
// gateway is killed, stopped or drained. Where WEBFAULTY_LISTEN says so, it is an ordinary HTTP server instead.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/coder/websocket"

	"github.com/modulebus/modulebus/modulekit"
)

func main() {
	if address := os.Getenv("WEBFAULTY_LISTEN"); address != "" {
		l, err := net.Listen("tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("listens at", l.Addr())
		log.Fatal(http.Serve(l, http.HandlerFunc(serve)))
	}
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
		if r.URL.Query().Has("declared") {
			w.Header().Set("Content-Length", strconv.Itoa(1<<40))
		}
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

// page has as many bytes as the query wants.
func page(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Query().Get("bytes"))
	w.Header().Set("Content-Length", strconv.Itoa(n))
	_, _ = w.Write(make([]byte, n))
}

// echo answers with what it is sent, when it has all of it.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

// pipe answers with what it is sent, as it comes. Nobody is told how much that will be.
func pipe(w http.ResponseWriter, r *http.Request) {
	_ = http.NewResponseController(w).EnableFullDuplex()
	if _, err := io.Copy(w, r.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// reflect answers with the fields it was asked with, and with one of the query's, and has no body.
func reflect(w http.ResponseWriter, r *http.Request) {
	for _, name := range []string{"Nats-Trace-Dest", "Nats-Trace-Only", "Status", "X-Forwarded-Host"} {
		w.Header()[name] = r.Header[name]
	}
	w.Header().Set("Said", r.URL.Query().Get("say"))
}

func serve(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path { // They are asked too often to tell of it.
	case "/f/page":
		page(w, r)
		return
	case "/f/echo":
		echo(w, r)
		return
	case "/f/pipe":
		pipe(w, r)
		return
	}
	fmt.Println("asked", r.URL.Path)
	path, then, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/f/"), "/")
	switch wait, ok := waits["/f/"+path]; {
	case ok:
		wait(w, r)
		<-r.Context().Done()
		fmt.Println("ended:", context.Cause(r.Context()), r.URL.Path)
	case path == "reflect":
		reflect(w, r)
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
