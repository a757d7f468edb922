// Command upload is an example of a module that reads a body as it arrives: its page sends a file, with a progress bar,
// and shows the size and the SHA-256 that the module found. Nothing of the file is kept, in memory or on a disk.
package main

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"

	"github.com/modulebus/modulebus/modulekit"
)

const path = "/_synapse/client/upload"

//go:embed page.html
var page []byte

var module = modulekit.Module[struct{}]{Version: "1.0.0", New: newUpload}

func main() { modulekit.Main(module) }

func newUpload(_ struct{}, api *modulekit.ModuleAPI) error {
	pages := http.NewServeMux()
	pages.HandleFunc("GET "+path, show)
	pages.HandleFunc("POST "+path, digest)
	api.RegisterWebResource(path, pages)
	return nil
}

func show(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page)
}

// received is what is said of a file.
type received struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// digest reads no faster than it computes, and the browser's progress bar moves no faster than that.
func digest(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	size, err := io.Copy(sum, r.Body)
	if err != nil {
		http.Error(w, "The upload broke off: "+err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(received{size, hex.EncodeToString(sum.Sum(nil))})
}
