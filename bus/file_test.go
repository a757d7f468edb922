package bus_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

type (
	mediaQuestion = callbacksv1.CheckMediaFileForSpamRequest
	mediaVerdict  = callbacksv1.CheckMediaFileForSpamResponse
)

// period is what a pattern repeats. Its length is no multiple of what is read at once.
var period = noise(1024)

func noise(blocks int) (all []byte) {
	for i := range blocks {
		block := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		all = append(all, block[:]...)
	}
	return append(all, 0)
}

// pattern is a large file that is never in memory. It counts what is read of it.
type pattern struct {
	size       int64
	read, most atomic.Int64
}

// ReadAt implements [io.ReaderAt].
func (p *pattern) ReadAt(b []byte, offset int64) (int, error) {
	n := int(max(0, min(int64(len(b)), p.size-offset)))
	for at := 0; at < n; {
		at += copy(b[at:n], period[(offset+int64(at))%int64(len(period)):])
	}
	p.read.Add(int64(n))
	for most := p.most.Load(); int64(len(b)) > most && !p.most.CompareAndSwap(most, int64(len(b))); most = p.most.Load() {
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// scans is a module that does something with a file.
func scans(f func(context.Context, *modulekit.ModuleAPI, *callbacksv1.FileWrapper) (*mediaVerdict, error)) func(*modulekit.ModuleAPI) {
	return func(api *modulekit.ModuleAPI) {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{
			CheckMediaFileForSpam: func(ctx context.Context, q *mediaQuestion) (*mediaVerdict, error) {
				return f(ctx, api, q.GetFileWrapper())
			},
		})
	}
}

// hashes is a module that reads the whole file, and refuses it with what its hash is.
func hashes(ctx context.Context, api *modulekit.ModuleAPI, w *callbacksv1.FileWrapper) (*mediaVerdict, error) {
	hash := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{hash}, api.OpenFile(ctx, w), make([]byte, 5000))
	if err != nil || n != w.GetSize() {
		return nil, errors.Join(err, errors.New("the size is wrong"))
	}
	return &mediaVerdict{Refusal: modulekit.Refuse(hex.EncodeToString(hash.Sum(nil)), "")}, nil
}

func (s *stage) scan(t *testing.T, content io.ReaderAt, size int64) (bus.Decision[*mediaVerdict], error) {
	t.Helper()
	return s.SpamChecker.CheckMediaFileForSpam(bus.WithFile(t.Context(), content, size), &mediaQuestion{})
}

func TestModuleReadsALargeFileInPieces(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	s.run("a", "w", scans(hashes))
	file := &pattern{size: 64<<20 + 17}
	want := sha256.New()
	if _, err := io.Copy(want, io.NewSectionReader(&pattern{size: file.size}, 0, file.size)); err != nil {
		t.Fatal(err)
	}
	got, err := s.scan(t, file, file.size)
	if err != nil || got.Answer.GetRefusal().GetErrcode() != hex.EncodeToString(want.Sum(nil)) {
		t.Errorf("got %v, %v", got, err)
	}
	if file.read.Load() != file.size || file.most.Load() > 128<<10 {
		t.Errorf("%d of %d bytes were read, %d at once", file.read.Load(), file.size, file.most.Load())
	}
}

func TestFileThatNobodyReadsIsNotSent(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("opens"), entry("peeks"))
	s.run("opens", "w", scans(func(ctx context.Context, api *modulekit.ModuleAPI, w *callbacksv1.FileWrapper) (*mediaVerdict, error) {
		_ = api.OpenFile(ctx, w)
		return nil, nil
	}))
	file := &pattern{size: 64 << 20}
	if got, err := s.scan(t, file, file.size); err != nil || got.Answer != nil || file.read.Load() != 0 {
		t.Errorf("got %v, %v; %d bytes were read", got, err, file.read.Load())
	}
	s.run("peeks", "w", scans(func(ctx context.Context, api *modulekit.ModuleAPI, w *callbacksv1.FileWrapper) (*mediaVerdict, error) {
		if w.Size != nil {
			return nil, errors.New("the size is known")
		}
		_, err := io.ReadFull(api.OpenFile(ctx, w), make([]byte, 100))
		return nil, err
	}))
	if got, err := s.scan(t, file, -1); err != nil || got.Answer != nil || file.read.Load() > 128<<10 {
		t.Errorf("got %v, %v; %d bytes were read", got, err, file.read.Load())
	}
}

// readFile asks for a piece as a module would, and returns it, or the failure.
func (s *stage) readFile(subject string, offset int64, length uint32) (piece []byte, failed *wire.Failure) {
	s.t.Helper()
	req, err := proto.Marshal(&rosterv1.ReadFile{Offset: offset, Length: length})
	if err != nil {
		s.t.Fatal(err)
	}
	m, err := s.nc.RequestMsgWithContext(s.t.Context(), &nats.Msg{Subject: subject, Data: req})
	if err != nil {
		s.t.Fatal(err)
	}
	return m.Data, wire.FailureOf(m)
}

func TestFileIsReadByWhomItWasGivenToAndNotLonger(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"), entry("b"))
	subject, answer := make(chan string), make(chan struct{})
	tells := scans(func(_ context.Context, _ *modulekit.ModuleAPI, w *callbacksv1.FileWrapper) (*mediaVerdict, error) {
		subject <- w.GetSubject()
		<-answer
		return nil, nil
	})
	s.run("a", "w", tells)
	s.run("b", "w", tells)
	done := make(chan error)
	go func() {
		_, err := s.scan(t, strings.NewReader("hello"), 5)
		done <- err
	}()
	one, other := <-subject, <-subject
	if one == other || !strings.HasPrefix(one, "modulebus.example%2Ecom.module.") {
		t.Errorf("both modules read at %s", one)
	}
	for _, tt := range []struct {
		subject string
		offset  int64
		length  uint32
		want    string
		refused bool
	}{
		{one, 0, 100, "hello", false},
		{other, 1, 3, "ell", false},
		{one, 5, 100, "", false},
		{one, 1 << 60, 100, "", false},
		{one, -1, 100, "", true},
		{one, 0, 0, "", true},
		{swapModule(one), 0, 100, "", true},
		{swapModule(other), 0, 100, "", true},
		{one[:strings.LastIndexByte(one, '.')+1] + "guess", 0, 100, "", true},
	} {
		piece, failed := s.readFile(tt.subject, tt.offset, tt.length)
		if string(piece) != tt.want || (failed != nil) != tt.refused {
			t.Errorf("%d bytes from %d at %s are %q, %v", tt.length, tt.offset, tt.subject, piece, failed)
		}
	}
	close(answer)
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, over := range []string{one, other} {
		if piece, failed := s.readFile(over, 0, 100); len(piece) > 0 || failed == nil || failed.Kind == absent {
			t.Errorf("after the ask, %s has %q, %v", over, piece, failed)
		}
	}
}

// swapModule is the subject of the same file for the other module of a and b.
func swapModule(subject string) string {
	if strings.Contains(subject, ".module.a.") {
		return strings.Replace(subject, ".module.a.", ".module.b.", 1)
	}
	return strings.Replace(subject, ".module.b.", ".module.a.", 1)
}

func TestModuleThatIsNoLongerWantedCannotReadOn(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("first"), entry("second"))
	read, ended := make(chan struct{}), make(chan error, 1)
	s.run("first", "w", scans(func(context.Context, *modulekit.ModuleAPI, *callbacksv1.FileWrapper) (*mediaVerdict, error) {
		<-read
		return &mediaVerdict{Refusal: modulekit.Refuse("A", "")}, nil
	}))
	s.run("second", "w", scans(func(ctx context.Context, api *modulekit.ModuleAPI, w *callbacksv1.FileWrapper) (*mediaVerdict, error) {
		file := api.OpenFile(ctx, w)
		_, err := io.ReadFull(file, make([]byte, 1))
		close(read)
		<-ctx.Done()
		_, rest := io.Copy(io.Discard, file)
		ended <- errors.Join(err, rest)
		return nil, nil
	}))
	if got, err := s.scan(t, &pattern{size: 1 << 40}, 1<<40); err != nil || got.DecidedBy != "first" {
		t.Errorf("got %v, %v", got, err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("reading ended with %v", err)
	}
}

// stuck is a file on a disk that does not answer.
type stuck struct{ reading, release chan struct{} }

// ReadAt implements [io.ReaderAt].
func (s stuck) ReadAt([]byte, int64) (int, error) {
	s.reading <- struct{}{}
	<-s.release
	return 0, io.EOF
}

func TestReaderThatDoesNotReturnHoldsUpNoClose(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("scanner"))
	s.run("scanner", "w", scans(hashes))
	file := stuck{make(chan struct{}, 64), make(chan struct{})}
	t.Cleanup(func() { close(file.release) })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = s.scan(t, file, 1)
	}()
	<-file.reading
	s.Close()
	<-ended
}

// broken is a file on a disk that fails.
type broken struct{}

// ReadAt implements [io.ReaderAt].
func (broken) ReadAt([]byte, int64) (int, error) { return 0, errors.New("secret path of the file") }

func TestFilesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	ended := make(chan error, 1)
	s.run("a", "w", scans(func(ctx context.Context, api *modulekit.ModuleAPI, w *callbacksv1.FileWrapper) (*mediaVerdict, error) {
		_, err := io.ReadAll(api.OpenFile(ctx, w))
		ended <- err
		return nil, nil
	}))
	if _, err := s.scan(t, broken{}, 5); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("reading what is broken ended with %v", err)
	}
	if _, err := s.SpamChecker.CheckMediaFileForSpam(t.Context(), &mediaQuestion{}); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, modulekit.ErrNoContent) {
		t.Errorf("reading what was not given ended with %v", err)
	}
	if _, err := s.scan(t, bytes.NewReader(nil), 0); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("reading nothing ended with %v", err)
	}
}

// A homeserver that reads slowly is asked again until it has the time, however many read at once.
func TestManyReadersTakeTurns(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	s.run("a", "w", scans(hashes))
	file := &gate{Reader: strings.NewReader(strings.Repeat("x", 1000)), open: make(chan struct{}), waiting: make(chan struct{}, 200)}
	const asks = 100
	done := make(chan error, asks)
	for range asks {
		go func() {
			_, err := s.scan(t, file, 1000)
			done <- err
		}()
	}
	for range 64 {
		<-file.waiting
	}
	close(file.open)
	deadline := time.After(time.Minute)
	for range asks {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-deadline:
			t.Fatal("some never got their turn")
		}
	}
}

// TestModuleThatReadsOnAllPlacesLeavesOthersTheirOwn has a module that reads its file so often at once that it takes all places.
func TestModuleThatReadsOnAllPlacesLeavesOthersTheirOwn(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"), entry("b"))
	const reads, places = 100, 64
	file := &gate{Reader: strings.NewReader("xy"), open: make(chan struct{}), waiting: make(chan struct{}, reads)}
	taken := make(chan struct{})
	s.run("a", "w", scans(func(_ context.Context, _ *modulekit.ModuleAPI, w *callbacksv1.FileWrapper) (*mediaVerdict, error) {
		var reading sync.WaitGroup
		for range reads {
			reading.Go(func() { s.readFile(w.GetSubject(), 0, 1) })
		}
		for range places {
			<-file.waiting
		}
		close(taken)
		reading.Wait()
		return nil, nil
	}))
	s.run("b", "w", scans(func(_ context.Context, _ *modulekit.ModuleAPI, w *callbacksv1.FileWrapper) (*mediaVerdict, error) {
		defer close(file.open)
		<-taken
		if piece, failed := s.readFile(w.GetSubject(), 1, 1); failed != nil || string(piece) != "y" {
			t.Errorf("the other module reads %q, %v", piece, failed)
		}
		return nil, nil
	}))
	if _, err := s.scan(t, file, 2); err != nil {
		t.Error(err)
	}
}

// Who reads one piece after the other takes one place, however fast it asks for the next.
func TestReaderThatGotAPieceIsNotBusyNext(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	const others, pieces = 63, 1000 // All places are taken but one.
	file := &gate{Reader: strings.NewReader("xy"), open: make(chan struct{}), waiting: make(chan struct{}, others)}
	s.run("a", "w", scans(func(_ context.Context, _ *modulekit.ModuleAPI, w *callbacksv1.FileWrapper) (*mediaVerdict, error) {
		var reading sync.WaitGroup
		for range others {
			reading.Go(func() { s.readFile(w.GetSubject(), 0, 1) })
		}
		for range others {
			<-file.waiting
		}
		for n := range pieces {
			if piece, failed := s.readFile(w.GetSubject(), 1, 1); failed != nil || string(piece) != "y" {
				t.Errorf("piece %d is %q, %v", n, piece, failed)
			}
		}
		close(file.open)
		reading.Wait()
		return nil, nil
	}))
	if got, err := s.scan(t, file, 2); err != nil || got.Failures != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

// gate is a file whose reads of the beginning wait until it is open.
type gate struct {
	*strings.Reader

	open, waiting chan struct{}
}

// ReadAt implements [io.ReaderAt].
func (g *gate) ReadAt(b []byte, offset int64) (int, error) {
	if offset == 0 {
		g.waiting <- struct{}{}
		<-g.open
	}
	return g.Reader.ReadAt(b, offset)
}
