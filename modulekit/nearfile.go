package modulekit

import (
	"context"
	"encoding/binary"
	"io"
	"strings"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/nearby"
)

// nearFile is the rest of a file that comes past NATS, from a homeserver on this machine. See package bus for the other side.
type nearFile struct {
	line  *nearby.Line
	stop  func() bool
	frame []byte // that was read last
}

// reachFile returns the file from an offset on; nil where it cannot be had so. It is closed with ctx, or at its end.
func reachFile(ctx context.Context, subject string, offset int64) *nearFile {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 2 {
		return nil
	}
	line, err := nearby.Reach(tokens[len(tokens)-2], subject) // The one before the last names the homeserver's process.
	if err != nil {
		return nil
	}
	f := &nearFile{line: line, stop: context.AfterFunc(ctx, line.Close)}
	if line.Send(binary.BigEndian.AppendUint64(nil, uint64(offset))) != nil {
		f.close()
		return nil
	}
	return f
}

func (f *nearFile) close() {
	f.stop()
	f.line.Close()
}

// next returns what comes next, until it is called again. Any error but [io.EOF] says that more of the file is to be had over NATS.
func (f *nearFile) next() ([]byte, error) {
	flow.Release(f.frame)
	var err error
	if f.frame, err = f.line.Next(); err != nil {
		f.close()
		return nil, errNotNear
	}
	if len(f.frame) == 0 {
		f.close()
		return nil, io.EOF
	}
	return f.frame, nil
}
