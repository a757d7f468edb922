package supervise

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/rs/zerolog"
)

const maxWords = 1 << 10

// words remembers what a process said on stderr that may explain its end. A nil words hears nothing.
type words struct {
	mu    sync.Mutex
	why   string // the last complaint, or the panic
	last  string // line without a level
	final bool   // why is a panic: what follows is its stack
}

// hearLine hears a line without a level. A Go program's panic is the first line of many, a Python one's the last.
func (w *words) hearLine(line string) {
	if w == nil {
		return
	}
	line = shorten(line)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = line
	if w.final || exitStatus(line) != 0 {
		return
	}
	w.why = line
	w.final = strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
}

// hearEntry hears an entry that is at least an error.
func (w *words) hearEntry(e entry) {
	if w == nil || e.level < zerolog.ErrorLevel {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.final {
		w.why = shorten(e.complaint())
	}
}

// complaint is the message and, where zerolog's Err left one, the error.
func (e entry) complaint() string {
	for _, f := range e.fields {
		var text string
		if f.name == zerolog.ErrorFieldName && json.Unmarshal(f.value, &text) == nil {
			return strings.TrimPrefix(e.message+": "+text, ": ")
		}
	}
	return e.message
}

func (w *words) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.why
}

// status is what `go run` said of its program's end; 0: nothing.
func (w *words) status() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return exitStatus(w.last)
}

func exitStatus(line string) (status int) {
	if _, err := fmt.Sscanf(line, "exit status %d", &status); err != nil {
		return 0
	}
	return status
}

func shorten(s string) string {
	if len(s) <= maxWords {
		return s
	}
	return strings.ToValidUTF8(s[:maxWords], "")
}
