package bus_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/tunnel/nearby"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// overNATS returns how many pieces of files modules have asked for over NATS since.
func (s *stage) overNATS(t *testing.T) (asked func() int) {
	t.Helper()
	sub, err := s.nc.SubscribeSync(strings.Replace(names.FileAny("client"), ".client.", ".*.", 1))
	if err != nil {
		t.Fatal(err)
	}
	return func() int {
		err := s.nc.Flush()
		n, _, lost := sub.Pending()
		if err = errors.Join(err, lost); err != nil {
			t.Fatal(err)
		}
		return n
	}
}

func hashOf(t *testing.T, content io.ReaderAt, size int64) string {
	t.Helper()
	hash := sha256.New()
	if _, err := io.Copy(hash, io.NewSectionReader(content, 0, size)); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

func TestFileOnOneMachineIsReadPastNATSButForItsFirstPiece(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	s.run("a", "w", scans(hashes))
	asked := s.overNATS(t)
	const size = 8<<20 + 17
	got, err := s.scan(t, &pattern{size: size}, size)
	if want := hashOf(t, &pattern{size: size}, size); err != nil || got.Answer.GetRefusal().GetErrcode() != want {
		t.Errorf("got %v, %v", got, err)
	}
	if n := asked(); n != 1 {
		t.Errorf("%d pieces were asked for over NATS", n)
	}
}

// breaking is a file that cannot be read once, somewhere behind its beginning.
type breaking struct {
	pattern
	broke  atomic.Bool
	panics bool
}

// ReadAt implements [io.ReaderAt].
func (b *breaking) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= 1<<20 && b.broke.CompareAndSwap(false, true) {
		if b.panics {
			panic("the disk coughs")
		}
		return 0, errors.New("the disk coughs")
	}
	return b.pattern.ReadAt(p, offset)
}

func TestFileWhoseWayPastNATSBreaksIsReadOnOverNATS(t *testing.T) {
	t.Parallel()
	for name, panics := range map[string]bool{"an error": false, "a panic": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			readsOn(t, &breaking{panics: panics})
		})
	}
}

func readsOn(t *testing.T, file *breaking) {
	t.Helper()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	s.run("a", "w", scans(hashes))
	asked := s.overNATS(t)
	const size = 4<<20 + 1
	file.size = size
	got, err := s.scan(t, file, size)
	if want := hashOf(t, &pattern{size: size}, size); err != nil || got.Answer.GetRefusal().GetErrcode() != want {
		t.Errorf("got %v, %v", got, err)
	}
	if n := asked(); !file.broke.Load() || n < 2 {
		t.Errorf("it broke: %v; %d pieces were asked for over NATS", file.broke.Load(), n)
	}
}

func TestWayPastNATSIsOneAndEndsWithTheQuestion(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	reach := func(subject string) error {
		tokens := strings.Split(subject, ".")
		line, err := nearby.Reach(tokens[len(tokens)-2], subject)
		if err == nil {
			line.Close()
		}
		return err
	}
	var subject string
	s.run("a", "w", scans(func(ctx context.Context, api *modulekit.ModuleAPI, w *callbacksv1.FileWrapper) (*mediaVerdict, error) {
		subject = w.GetSubject()
		_, err := io.CopyN(io.Discard, api.OpenFile(ctx, w), 200<<10)
		return &mediaVerdict{Refusal: modulekit.Refuse("X", fmt.Sprint(err, ", ", reach(subject) != nil))}, nil
	}))
	const size = 8 << 20
	got, err := s.scan(t, &pattern{size: size}, size)
	if text := got.Answer.GetRefusal().GetError(); err != nil || text != "<nil>, true" {
		t.Errorf("got %q, %v", text, err)
	}
	if reach(subject) == nil {
		t.Error("the file can be reached when the question is answered")
	}
}
