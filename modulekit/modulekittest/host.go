package modulekittest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// host is the scripted homeserver and busd as the module under test reaches them.
type host struct {
	script Script
	bucket *bucket

	mu    sync.Mutex
	files []io.ReaderAt // a file's subject is its index
}

func newHost(s Script) *host { return &host{script: s, bucket: newBucket()} }

// Call implements [kitopts.Host]. Both messages are encoded and decoded, so that the module and the script share no
// memory.
func (h *host) Call(ctx context.Context, m *subjects.Method, req proto.Message) (proto.Message, error) {
	sent := m.NewRequest()
	if err := through(req, sent); err != nil {
		return nil, err
	}
	answer, err := h.script.API.call(ctx, m, sent)
	if err != nil {
		var e *modulekit.MatrixError
		if !errors.As(err, &e) && ctx.Err() == nil {
			err = &modulekit.MatrixError{Status: http.StatusInternalServerError, Errcode: matrix.Unknown, Text: "Internal server error"}
		}
		return nil, err
	}
	reply := m.NewReply()
	return reply, through(answer, reply)
}

func through(from, to proto.Message) error {
	data, err := wire.Encode(from, wire.Binary)
	if err != nil {
		return err
	}
	return wire.Decode(data, wire.Binary, to)
}

// scripted answers a call of the module with a function of the script.
func scripted[Request, Reply proto.Message](
	ctx context.Context, m *subjects.Method, req proto.Message, f func(context.Context, Request) (Reply, error),
) (proto.Message, error) {
	if f == nil {
		return nil, unscripted(m)
	}
	return f(ctx, req.(Request))
}

func unscripted(m *subjects.Method) error {
	return &modulekit.MatrixError{
		Status: http.StatusNotFound, Errcode: matrix.Unrecognized, Text: "the test's script does not implement " + m.Name,
	}
}

// Bucket implements [kitopts.Host].
func (h *host) Bucket(context.Context) (kitopts.Bucket, error) {
	if h.script.NoStore {
		return nil, modulekit.ErrNoStore
	}
	return h.bucket, nil
}

// File makes a file with that content, and returns its description for a request such as that of check_media_file_for_spam. The
// module reads it with [modulekit.ModuleAPI.OpenFile].
func (h *Homeserver) File(content io.ReaderAt) *callbacksv1.FileWrapper {
	h.host.mu.Lock()
	defer h.host.mu.Unlock()
	h.host.files = append(h.host.files, content)
	return &callbacksv1.FileWrapper{Subject: filePrefix + strconv.Itoa(len(h.host.files)-1)}
}

const filePrefix = "file."

// ReadFile implements [kitopts.Host].
func (h *host) ReadFile(ctx context.Context, subject string, offset int64, length uint32) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	content := h.file(subject)
	if content == nil {
		return nil, modulekit.ErrNoContent
	}
	piece := make([]byte, length)
	n, err := content.ReadAt(piece, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return piece[:n], err
}

func (h *host) file(subject string) io.ReaderAt {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, err := strconv.Atoi(strings.TrimPrefix(subject, filePrefix))
	if err != nil || i < 0 || i >= len(h.files) {
		return nil
	}
	return h.files[i]
}
