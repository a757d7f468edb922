package childlog

import (
	"strings"
	"sync"

	"github.com/rs/zerolog"
)

// maxWords is the bytes that are kept of what a worker wrote last. Beyond: the earlier part is forgotten.
const maxWords = 1 << 10

// Words remember what a process wrote to stderr that may explain its end. The zero value is ready. A nil *Words
// remembers nothing. Its methods may be called from any goroutine.
type Words struct {
	mu    sync.Mutex
	why   string // the last complaint, or the panic
	final bool   // why is a panic: what follows is its stack
}

// Last returns the first line of a Go program's panic, else the last line or entry that complains, of at most 1 KiB. They
// are the process's own words, with whatever is in them.
func (w *Words) Last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.why
}

// hearLine hears a line without a level. A Go program's panic is the first line of many, a Python one's the last.
func (w *Words) hearLine(line string) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.final || isGoRun(line) {
		return
	}
	w.why = shorten(line)
	w.final = strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
}

// isGoRun recognizes the line that `go run` writes for any program that fails. It explains nothing.
func isGoRun(line string) bool { return strings.HasPrefix(line, "exit status ") }

// hearEntry hears an entry that is at least an error.
func (w *Words) hearEntry(e entry) {
	if w == nil || e.level < zerolog.ErrorLevel {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.final {
		w.why = shorten(e.complaint())
	}
}

func shorten(s string) string {
	if len(s) <= maxWords {
		return s
	}
	return strings.ToValidUTF8(s[:maxWords], "")
}
