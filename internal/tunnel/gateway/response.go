package gateway

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// checkResponse refuses a response that would desynchronize the client and the server.
func checkResponse(r *frame.Response, method string) error {
	if r.Status < 200 {
		return badReply(fmt.Errorf("status %d", r.Status))
	}
	if r.More && len(r.Body) > 0 {
		return badReply(errors.New("part of a body with the head"))
	}
	if bodyless(method, r.Status) {
		if len(r.Body) > 0 {
			return badReply(fmt.Errorf("%d bytes of body to a %s with status %d", len(r.Body), method, r.Status))
		}
		return nil
	}
	if !r.More && r.ContentLength >= 0 && r.ContentLength != int64(len(r.Body)) {
		return badReply(fmt.Errorf("%d bytes of body, %d declared", len(r.Body), r.ContentLength))
	}
	return nil
}

// bodyless reports whether a response never has a body, whatever its Content-Length says.
func bodyless(method string, status int) bool {
	return method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
}
