package askdoor

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
)

const (
	// maxFile is how much of a file modules may read, in bytes. Beyond: their read fails.
	maxFile = 1 << 30

	// fileTime is how long a homeserver may take to send the question, and the part of the file that modules read. Beyond:
	// their read fails.
	fileTime = time.Minute
)

// errFileTooLarge is the error of a module's read beyond [maxFile].
var errFileTooLarge = errors.New("the file is larger than busd passes on")

// upload is an ask with a file: multipart/form-data with a part "request", which is the message, and then a part
// "file". busd reads only as much of the file as modules do, so a file that no module reads costs nothing.
type upload struct {
	request []byte
	in      wire.Mapping
	file    io.Reader
}

// readUpload reads the request's message, and leaves the file where it is.
func readUpload(r *http.Request) (*upload, *door.Problem) {
	parts, err := r.MultipartReader()
	if err != nil {
		return nil, badUpload("it is no multipart/form-data")
	}
	message, err := parts.NextPart()
	if err != nil || message.FormName() != "request" {
		return nil, badUpload(`its first part is not "request"`)
	}
	body, err := io.ReadAll(io.LimitReader(message, largeBody+1))
	switch {
	case err != nil:
		return nil, badUpload("it is cut")
	case len(body) > largeBody:
		return nil, door.NewProblem(http.StatusRequestEntityTooLarge, matrix.TooLarge, fmt.Sprintf("the part request is larger than %d bytes", largeBody))
	}
	return nextFile(&upload{request: body, in: mappingOf(partType(message))}, parts)
}

func nextFile(u *upload, parts *multipart.Reader) (*upload, *door.Problem) {
	part, err := parts.NextPart()
	if err != nil || part.FormName() != "file" {
		return nil, badUpload(`its second part is not "file"`)
	}
	u.file = part
	return u, nil
}

func partType(p *multipart.Part) string {
	t, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

func badUpload(why string) *door.Problem {
	return door.NewProblem(http.StatusBadRequest, matrix.BadJSON, "the body cannot be read: "+why)
}

// spool lets a stream be read at any offset: what has been read from it so far is in a temporary file.
type spool struct {
	mu     sync.Mutex
	source io.Reader
	disk   *os.File
	size   int64
	err    error // of the source; io.EOF at its end
	whole  atomic.Bool
}

// ended reports whether all of the source has been read.
func (s *spool) ended() bool { return s.whole.Load() }

// ReadAt implements [io.ReaderAt]. It reads as much of the source as it needs.
func (s *spool) ReadAt(p []byte, offset int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fill(offset + int64(len(p)))
	if s.disk == nil || offset >= s.size {
		return 0, s.err
	}
	n, err := s.disk.ReadAt(p[:min(int64(len(p)), s.size-offset)], offset)
	if err == nil && n < len(p) {
		err = s.err
	}
	return n, err
}

func (s *spool) fill(size int64) {
	if s.err != nil || s.size >= size {
		return
	}
	if size > maxFile {
		s.err = errFileTooLarge
		return
	}
	if s.disk == nil {
		if s.disk, s.err = os.CreateTemp("", "busd-file-"); s.err != nil {
			return
		}
	}
	var n int64
	n, s.err = io.CopyN(s.disk, s.source, size-s.size)
	s.size += n
	s.whole.Store(errors.Is(s.err, io.EOF))
}

func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = os.ErrClosed
	if s.disk != nil {
		_ = s.disk.Close() // Nothing of it is needed any more.
		_ = os.Remove(s.disk.Name())
		s.disk = nil
	}
}
