// Command clock is an example of a module that pushes: its page shows the time as server-sent events tell it, once per
// second for as long as the page is open.
package main

import (
	_ "embed"
	"fmt"
	"net/http"
	"time"

	"github.com/modulebus/modulebus/modulekit"
)

const path = "/_synapse/client/clock"

//go:embed page.html
var page []byte

var module = modulekit.Module[struct{}]{Version: "1.0.0", New: newClock}

func main() { modulekit.Main(module) }

func newClock(_ struct{}, api *modulekit.ModuleAPI) error {
	pages := http.NewServeMux()
	pages.HandleFunc("GET "+path, show)
	pages.HandleFunc("GET "+path+"/events", events)
	api.RegisterWebResource(path, pages)
	return nil
}

func show(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page)
}

// events goes on until the client leaves, or the gateway is lost: then the context ends.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	client := http.NewResponseController(w)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for now, tick := time.Now(), 1; ; tick++ {
		fmt.Fprintf(w, "id: %d\ndata: %s\n\n", tick, now.UTC().Format(time.RFC3339Nano))
		if err := client.Flush(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case now = <-ticker.C:
		}
	}
}
