package modulekit

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/kitopts"
)

// pieces is a homeserver that gives at most so much of a file at once.
type pieces struct {
	kitopts.Host
	content []byte
	most    int
	asked   atomic.Int64
}

// ReadFile implements [kitopts.Host].
func (p *pieces) ReadFile(_ context.Context, _ string, offset int64, length uint32) ([]byte, error) {
	p.asked.Add(1)
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
		r := &fileReader{ctx: t.Context(), host: &pieces{content: content, most: most}, subject: "s", size: pieceSize}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("read %d of %d bytes, %v", len(got), len(content), err)
		}
	})
}

func TestSmallFileIsAskedForOnceMoreThanItHasPieces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		host := &pieces{content: make([]byte, 1000), most: pieceSize}
		r := &fileReader{ctx: t.Context(), host: host, subject: "s", size: pieceSize}
		if got, err := io.ReadAll(r); err != nil || len(got) != 1000 {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		synctest.Wait()
		if n := host.asked.Load(); n != 2 {
			t.Errorf("%d pieces were asked for, want the one and the end", n)
		}
	})
}
