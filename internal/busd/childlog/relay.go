package childlog

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

// MaxLine is how many bytes of one line of a module's output reach the log. Beyond: it is cut, and marked so.
const MaxLine = 64 << 10

// Options configure a [Relay]. Log and Stream are required.
type Options struct {
	Log    zerolog.Logger
	Stream string        // stdout or stderr, for lines that are no entries of a log
	Level  zerolog.Level // of those lines
	Words  *Words        // remembers what explains an end. Default: nothing is remembered
}

// Relay copies one output of a process into a log, line by line.
type Relay struct {
	Options
	from  *os.File
	ended chan struct{} // closed when the last line has been taken
}

// Start begins to read on a goroutine. Close ends it, and must be called.
func Start(from *os.File, o Options) *Relay {
	r := &Relay{Options: o, from: from, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		eachLine(from, r.take)
	}()
	return r
}

// Settle waits for the last line, but not for longer than d.
func (r *Relay) Settle(d time.Duration) {
	select {
	case <-r.ended:
	case <-time.After(d):
	}
}

// Close reads on until the last writer is gone, or the deadline, and returns when the last line was taken.
func (r *Relay) Close(deadline time.Time) {
	_ = r.from.SetReadDeadline(deadline)
	<-r.ended
	_ = r.from.Close()
}

// take logs a line, unless it is empty.
func (r *Relay) take(line []byte, cut bool) {
	line = bytes.TrimRight(valid(line), " \t\r")
	if len(line) == 0 {
		return
	}
	if e, ok := parseEntry(line); ok {
		r.Words.hearEntry(e)
		e.log(r.Log)
		return
	}
	r.Words.hearLine(string(line))
	r.plain(line, cut)
}

func (r *Relay) plain(line []byte, cut bool) {
	ev := r.Log.WithLevel(r.Level).Str("stream", r.Stream)
	if cut {
		ev.Bool("cut", true)
	}
	ev.Msg(string(line))
}

func valid(line []byte) []byte {
	if utf8.Valid(line) {
		return line
	}
	return bytes.ToValidUTF8(line, []byte("\uFFFD"))
}

// eachLine gives take every line of r until r fails: without its end, of MaxLine bytes at most, and whether that was
// not all of it. A line is valid until take returns.
func eachLine(r io.Reader, take func(line []byte, cut bool)) {
	b := bufio.NewReaderSize(r, MaxLine+1)
	for {
		line, err := b.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		take(trim(line), cut)
		if cut {
			err = skipLine(b)
		}
		if err != nil {
			return
		}
	}
}

func trim(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	return line[:min(len(line), MaxLine)]
}

func skipLine(b *bufio.Reader) error {
	for {
		if _, err := b.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}
