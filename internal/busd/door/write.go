package door

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
)

// WriteJSON answers an HTTP request with a value as JSON.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	body, err := marshalPlain(v)
	if err != nil {
		NewProblem(http.StatusInternalServerError, matrix.Unknown, err.Error()).WriteTo(w)
		return
	}
	Write(w, status, wire.JSONType, body)
}

// Write answers an HTTP request with a body.
func Write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // It fails only when the client is gone.
}

// TurnAway answers an HTTP request with 503, and says when to try again.
func TurnAway(w http.ResponseWriter, text string) {
	NewProblem(http.StatusServiceUnavailable, matrix.Unknown, text).WriteTo(w)
}

// marshalPlain is [json.Marshal] without the escapes for <, > and &.
func marshalPlain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
