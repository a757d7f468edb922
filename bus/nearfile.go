package bus

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/nearby"
)

// nearFiles lets modules on this machine read files without NATS. A module's first frame is the offset; the module
// is sent the rest of the file, and an empty frame at its end. If the line ends before that, the module reads on over
// NATS. See ADR 72.
type nearFiles struct{ files *files }

// Meet implements [nearby.Host]. The token is the subject that NATS brought the module.
func (n nearFiles) Meet(token string, l *nearby.Line) bool {
	n.files.mu.Lock()
	defer n.files.mu.Unlock()
	file := n.files.opened[token]
	if file == nil || file.line != nil {
		return false
	}
	file.line = l
	return true
}

// ReceiveNearby implements [nearby.Host]. It blocks the file's own line alone.
func (n nearFiles) ReceiveNearby(token string, frame []byte) {
	defer flow.Release(frame)
	n.files.mu.Lock()
	file := n.files.opened[token]
	n.files.mu.Unlock()
	const size = 8
	if file == nil || len(frame) != size {
		return
	}
	if offset := int64(binary.BigEndian.Uint64(frame)); offset < 0 || n.sendRest(file, offset) != nil {
		file.line.Close()
	}
}

// Parted implements [nearby.Host].
func (nearFiles) Parted(string, bool) {}

// sendRest sends a file from an offset on. It returns a panic of the homeserver's reader as an error.
func (n nearFiles) sendRest(file *openFile, offset int64) (err error) {
	defer responder.Recover(&err, n.files.log, "file", "", nil)
	piece := flow.Buffer(maxPiece)
	defer flow.Release(piece)
	for {
		size, err := file.content.ReadAt(piece, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if sent := file.line.Send(piece[:size]); sent != nil || size == 0 {
			return sent
		}
		offset += int64(size)
	}
}
