package modulekit

import (
	"bytes"
	"context"
	"io"
	"testing"

	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/kitopts"
)

// pieces is a homeserver that gives at most so much of a file at once.
type pieces struct {
	kitopts.Host
	content []byte
	most    int
}

// ReadFile implements [kitopts.Host].
func (p pieces) ReadFile(_ context.Context, _ string, offset int64, length uint32) ([]byte, error) {
	rest := p.content[min(int(offset), len(p.content)):]
	return rest[:min(len(rest), p.most, int(length))], nil
}

func TestFileIsReadAsItIsWhateverPiecesAHomeserverGives(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		content := make([]byte, rapid.IntRange(0, 5*pieceSize).Draw(t, "size"))
		for i := range content {
			content[i] = byte(i * 7 >> 3)
		}
		most := rapid.SampledFrom([]int{pieceSize, pieceSize - 1, pieceSize / 2, 5000}).Draw(t, "most")
		r := &fileReader{ctx: t.Context(), host: pieces{content: content, most: most}, subject: "s", size: pieceSize}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("read %d of %d bytes, %v", len(got), len(content), err)
		}
	})
}
