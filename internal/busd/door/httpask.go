package door

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/wire"
)

const (
	maxBody      = 1 << 20 // bytes of a request message
	protobufType = "application/x-protobuf"
)

var mediaTypes = map[wire.Mapping]string{wire.JSON: wire.JSONType, wire.Binary: protobufType}

// mappingOf takes everything for JSON that does not say otherwise: curl calls it a form.
func mappingOf(mediaType string) wire.Mapping { return wire.Mapping(mediaType != protobufType) }

func (d *HTTP) ask(w http.ResponseWriter, r *http.Request) {
	ctx, cancel, p := deadline(r)
	if p != nil {
		p.writeTo(w)
		return
	}
	defer cancel()
	//nolint:contextcheck // It is the request's, or ends earlier.
	out, mapping, p := d.askIn(ctx, w, r, r.PathValue("category")+"."+r.PathValue("callback"))
	switch {
	case p != nil && r.Context().Err() != nil: // Nobody is there to read it.
	case p != nil:
		p.writeTo(w)
	default:
		write(w, http.StatusOK, mediaTypes[mapping], out)
	}
}

// askIn asks in the form that the request has: JSON, protobuf, or either of them with a file.
func (d *HTTP) askIn(ctx context.Context, w http.ResponseWriter, r *http.Request, name string) (out []byte, in wire.Mapping, p *Problem) {
	if mediaType(r) == "multipart/form-data" {
		return d.askUpload(ctx, w, r, name)
	}
	in = mappingOf(mediaType(r))
	body, p := readBody(w, r)
	if p == nil {
		out, p = d.Answerer.answer(ctx, name, body, in)
	}
	return out, in, p
}

func mediaType(r *http.Request) string {
	t, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.ToLower(strings.TrimSpace(t))
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *Problem) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, newProblem(http.StatusRequestEntityTooLarge, tooLarge, "the body is larger than "+strconv.Itoa(maxBody)+" bytes")
	case err != nil:
		return nil, newProblem(http.StatusBadRequest, notJSON, "the body is cut")
	}
	return body, nil
}

// deadline is the caller's own, if it sent one.
func deadline(r *http.Request) (context.Context, context.CancelFunc, *Problem) {
	text := r.Header.Get("X-Modulebus-Timeout")
	if text == "" {
		return r.Context(), func() {}, nil
	}
	timeout, err := config.ParseDuration(text)
	if err != nil || timeout <= 0 {
		return nil, nil, newProblem(http.StatusBadRequest, invalidParam, "X-Modulebus-Timeout is not a duration (try 500ms)")
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	return ctx, cancel, nil
}
