package supervise

import (
	"bufio"
	"errors"
	"io"
	"os"
	"time"
)

// MaxLine is how many bytes of one line of output reach the log.
const MaxLine = 64 << 10

// stream is one output of a process, read line by line.
type stream struct {
	r     *os.File
	ended chan struct{} // closed when the last line has been taken
}

// read starts to read; close ends it.
func read(r *os.File, to sink) *stream {
	s := &stream{r: r, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		eachLine(r, to.take)
	}()
	return s
}

// settle waits for the last line, but not for longer than d.
func (s *stream) settle(d time.Duration) {
	select {
	case <-s.ended:
	case <-time.After(d):
	}
}

// close reads on until the last writer is gone, or the deadline, and returns when the last line was taken.
func (s *stream) close(deadline time.Time) {
	_ = s.r.SetReadDeadline(deadline)
	<-s.ended
	_ = s.r.Close()
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
