package broker

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
)

// Trouble returns what the embedded server reports to be wrong with itself, such as a stream that met a full disk and
// stores nothing more until the server is restarted. It is empty if nothing is wrong, and for an external NATS, which
// its operators monitor themselves.
func (b *Broker) Trouble() string {
	if b.server == nil {
		return ""
	}
	a := &answer{header: http.Header{}}
	b.server.HandleHealthz(a, &http.Request{URL: &url.URL{}})
	var health struct {
		Status string `json:"status"`
		Error  string `json:"error"`
	}
	if json.Unmarshal(a.body.Bytes(), &health) != nil || health.Status == "ok" {
		return ""
	}
	return health.Error
}

// answer is an HTTP response that is kept in memory.
type answer struct {
	header http.Header
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (a *answer) Header() http.Header { return a.header }

// Write implements [http.ResponseWriter].
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

// WriteHeader implements [http.ResponseWriter].
func (*answer) WriteHeader(int) {}
