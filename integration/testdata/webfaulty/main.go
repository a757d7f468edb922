// Command webfaulty is a module whose web resource does what it is told: what of a response there is, before it is
// killed, stopped or drained.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/modulebus/modulebus/modulekit"
)

func main() {
	modulekit.Main(modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterWebResource("/f", http.HandlerFunc(serve))
		return nil
	}})
}

func serve(w http.ResponseWriter, r *http.Request) {
	fmt.Println("asked")
	switch r.URL.Path {
	case "/f/wait":
		<-r.Context().Done()
	case "/f/head":
		_, _ = io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case "/f/stream":
		for r.Context().Err() == nil {
			_, _ = w.Write(make([]byte, 32<<10))
		}
	case "/f/panic":
		panic("told to")
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, os.Getpid())
		return
	}
	fmt.Println("ended:", context.Cause(r.Context()))
}
