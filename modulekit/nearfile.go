package modulekit

import (
	"context"
	"encoding/binary"
	"io"
	"strings"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/nearby"
)

// nearFile reads the rest of a file without NATS, from a homeserver on this machine. The other side is nearFiles in
// package bus.
type nearFile struct {
	line  *nearby.Line
	stop  func() bool
	frame []byte // the one that was read last
}

// reachFile returns the file from an offset on; nil if it cannot be read in this way. The file is closed when ctx ends,
// or at its end.
func reachFile(ctx context.Context, subject string, offset int64) *nearFile {
	tokens := strings.Split(subject, ".")
	if len(tokens) < 2 {
		return nil
	}
	line, err := nearby.Reach(tokens[len(tokens)-2], subject) // The token before the last names the homeserver's process.
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

// next returns the next bytes, which are valid until it is called again. On any error but [io.EOF], the rest of the
// file must be read over NATS.
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
