package nearby_test

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/nearby"
	"github.com/modulebus/modulebus/internal/waittest"
)

// reader is a gateway with one stream, whose parts may lie in shared memory.
type reader struct {
	flow.Stream
	shared atomic.Int64 // parts that lay there
	parted chan struct{}
}

// aside is a transport on which nothing arrives: all that these tests send goes over a line.
type aside struct{}

func (aside) Send(flow.Channel, flow.Address, string, []byte) error   { return nil }
func (aside) MaxFrame() int                                           { return 64 << 10 }
func (aside) Near(flow.Address, func(frame []byte), func()) flow.Line { return nil }

// stream is one end of a stream.
func stream() flow.Stream {
	return flow.Stream{Transport: aside{}, Budget: &flow.Budget{}, Stats: &flow.Stats{}, Peer: flow.Address{Process: "p"}}
}

func (r *reader) Meet(_ string, l *nearby.Line) bool { return r.Join(l) }

func (r *reader) ReceiveNearby(_ string, raw []byte) { r.take(raw, nil) }

func (r *reader) ReceiveShared(_ string, head, bytes []byte) {
	r.shared.Add(1)
	r.take(head, bytes)
}

// take receives a frame as a gateway does, with bytes behind it.
func (r *reader) take(raw, bytes []byte) {
	f, err := frame.Decode(raw)
	d, ok := f.(*frame.Data)
	switch {
	case err != nil || !ok:
		r.Fail(errors.New("no data"))
		return
	case bytes != nil:
		d.Bytes, raw = bytes, nil
	}
	if wrong := r.ReceiveData(d, raw); wrong != 0 {
		r.Fail(errors.New(wrong.String()))
	}
}

func (r *reader) Parted(string, bool) {
	r.Fail(flow.ErrLost)
	close(r.parted)
}

// shared connects a stream that sends to one that reads. end ends the line, and may be called again.
func shared(t interface{ Fatal(args ...any) }, place string) (from *flow.Stream, to *reader, end func()) {
	to = &reader{Stream: stream(), parted: make(chan struct{})}
	to.Shares = true
	p, err := nearby.Open(place, to)
	if err != nil {
		t.Fatal(err)
	}
	sender := stream()
	credit, _ := to.OpenCredit()
	sender.ReceiveCredit(credit)
	lines := &nearby.Lines{}
	granted := func(raw []byte) {
		if f, err := frame.Decode(raw); err == nil {
			sender.ReceiveCredit(f.(*frame.Credit).Offset)
		}
	}
	l, err := lines.Go(func() (*nearby.Line, error) { return nearby.ReachSharing(place, "token") }, func(l *nearby.Line) { _ = l.Receive(granted) })
	if err != nil {
		t.Fatal(err)
	}
	sender.Join(l)
	return &sender, to, func() {
		lines.Close()
		p.Close()
	}
}

// held is how many memories and files of memory the process has.
func held(t *testing.T) (n int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if to, _ := os.Readlink(filepath.Join("/proc/self/fd", f.Name())); strings.Contains(to, "memfd:modulebus") {
			n++
		}
	}
	return n + strings.Count(string(maps), "memfd:modulebus")
}

// TestWhatIsLaidInMemoryComesOutWhole is the law: what is written comes out in order and whole, whatever the sizes of writes
// and reads are; where it breaks off, what came is its beginning, and there is an error.
//
//nolint:paralleltest // It counts what the process has.
func TestWhatIsLaidInMemoryComesOutWhole(t *testing.T) {
	noise := make([]byte, 4<<20)
	for i := range noise {
		noise[i] = byte(i>>16) ^ byte(i>>8) ^ byte(i)
	}
	total := int64(0)
	rapid.Check(t, func(rt *rapid.T) {
		from, to, end := shared(rt, "Law")
		defer to.Free()
		defer end()
		size := rapid.IntRange(1, len(noise)).Draw(rt, "size")
		pieces := rapid.SliceOfN(rapid.IntRange(1, 600<<10), 1, 8).Draw(rt, "pieces")
		abort := rapid.SampledFrom([]int{math.MaxInt, math.MaxInt, size / 2, 0}).Draw(rt, "abort") // whole, as a rule
		written := make(chan struct{})
		go func() {
			defer close(written)
			if !sends(from, noise[:size], pieces, abort) {
				end() // In the middle of what the reader does.
			}
		}()
		got, err := takes(rt, to, noise[:size])
		<-written
		total += to.shared.Load()
		if whole := got == size; whole != errors.Is(err, io.EOF) || !whole && abort > size {
			rt.Fatalf("%d of %d bytes came: %v", got, size, err)
		}
	})
	if total == 0 {
		t.Error("nothing lay in memory")
	}
	waittest.Until(t, "all memory is given back", func() bool { return held(t) == 0 })
}

// sends writes a body in pieces of the given sizes. It reports false if it breaks off, before the byte that abort tells.
func sends(from *flow.Stream, body []byte, pieces []int, abort int) bool {
	for at, i := 0, 0; at < len(body); i++ {
		n := min(pieces[i%len(pieces)], len(body)-at)
		if at+n > abort {
			return false
		}
		buf := append(make([]byte, flow.Room), body[at:at+n]...)
		if _, err := from.Write(buf, at+n == len(body), flow.Limits{}); err != nil {
			return false
		}
		at += n
	}
	return true
}

// takes reads a body, and returns how much of it came, and why no more did.
func takes(t *rapid.T, to *reader, body []byte) (got int, err error) {
	for {
		p, _, err := to.Read(flow.Limits{})
		if err != nil {
			return got, err
		}
		n := len(p.Bytes)
		if !bytes.Equal(p.Bytes, body[got:got+n]) {
			t.Fatalf("what came at %d is something else", got)
		}
		got += n
		p.Cut(n)
		to.Consumed(n)
	}
}

// askFor is a worker that asks for memory in its own way.
func askFor(t *testing.T, place string) (c *net.UnixConn, file int) {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Net: "unix", Name: filepath.Join(folder(), place)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Write([]byte("\x06token!")); err != nil {
		t.Fatal(err)
	}
	rights := make([]byte, 100)
	said, n, _, _, err := c.ReadMsgUnix(make([]byte, 1), rights)
	if err != nil || said != 1 {
		t.Fatalf("the gateway said %d bytes: %v", said, err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages: %v", len(messages), err)
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	t.Cleanup(func() { _ = unix.Close(files[0]) })
	return c, files[0]
}

// note is what a worker sends of n bytes that lie in memory, behind the head of a frame.
func note(n uint32, head []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, 1<<31|uint32(len(head)))
	return append(binary.BigEndian.AppendUint32(b, n), head...)
}

func dataHead(offset uint64) []byte { return frame.AppendDataHead(nil, offset, false) }

//nolint:paralleltest // It counts what the process has.
func TestWorkerThatLiesOfItsMemoryEndsItsStream(t *testing.T) {
	const size = 1 << 20
	for name, lie := range map[string][]byte{
		"nothing":            note(0, dataHead(0)),
		"more than there is": note(size+1, dataHead(0)),
		"beyond the end":     note(2, dataHead(size-1)),
		"all numbers":        note(math.MaxUint32, dataHead(math.MaxInt64)),
		"a long head":        note(1, make([]byte, 100)),
		"no head":            note(1, nil),
		"another frame":      note(1, frame.Append(nil, &frame.End{})),
		"bytes in the head":  note(1, append(dataHead(0), 1)),
		"a gap":              note(1, dataHead(7)),
		"beyond its credit":  note(size, dataHead(0)),
		"the same again":     append(note(100, dataHead(0)), note(100, dataHead(0))...),
		"half a note":        note(1, dataHead(0))[:9],
	} {
		to := &reader{Stream: stream(), parted: make(chan struct{})}
		to.Shares = true
		to.OpenCredit()
		p, err := nearby.Open("Lies", to)
		if err != nil {
			t.Fatal(err)
		}
		c, _ := askFor(t, "Lies")
		if _, err := c.Write(lie); err != nil {
			t.Fatal(err)
		}
		_ = c.CloseWrite()
		<-to.parted
		err = nil
		for err == nil {
			_, _, err = to.Read(flow.Limits{})
		}
		if errors.Is(err, io.EOF) {
			t.Errorf("%s: the stream is whole", name)
		}
		p.Close()
		to.Free()
	}
}

// TestMemoryStaysWhatever has a worker that takes its memory away in all ways that there are, and then has it read.
//
//nolint:paralleltest // It counts what the process has.
func TestMemoryStaysWhatever(t *testing.T) {
	to := &reader{Stream: stream(), parted: make(chan struct{})}
	to.Shares = true
	to.OpenCredit()
	p, err := nearby.Open("Stays", to)
	if err != nil {
		t.Fatal(err)
	}
	c, file := askFor(t, "Stays")
	const size, punch = 1 << 20, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	mapped, err := unix.Mmap(file, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(mapped) }()
	if err := unix.Ftruncate(file, 0); err == nil {
		t.Error("the memory shrinks")
	}
	if err := unix.Fallocate(file, punch, 0, size); err != nil {
		t.Fatal("this is possible before the first part, and mended then:", err)
	}
	mapped[0] = 1
	if _, err := c.Write(note(1, dataHead(0))); err != nil {
		t.Fatal(err)
	}
	part, _, err := to.Read(flow.Limits{})
	if err != nil || !bytes.Equal(part.Bytes, []byte{1}) {
		t.Fatalf("got %v: %v", part.Bytes, err)
	}
	var info unix.Stat_t
	if err := unix.Fstat(file, &info); err != nil || info.Blocks*512 < size {
		t.Errorf("%d bytes are there: %v", info.Blocks*512, err)
	}
	if err := unix.Fallocate(file, punch, 0, size); err == nil {
		t.Error("the worker takes pages away that are read")
	}
	if err := unix.Madvise(mapped, unix.MADV_REMOVE); err == nil {
		t.Error("the worker takes pages away that it has mapped")
	}
	_ = c.Close()
	<-to.parted
	p.Close()
	if part.Bytes[0] != 1 {
		t.Error("a part is gone before it is read")
	}
	to.Free()
}

// TestLineWithoutMemoryIsAnOrdinaryOne has workers ask gateways that know nothing of it, that may make no more, and whose
// stream wants none.
func TestLineWithoutMemoryIsAnOrdinaryOne(t *testing.T) {
	t.Parallel()
	g, _, name := hosted(t, "token")
	l, err := nearby.ReachSharing(name, "token")
	if err != nil {
		t.Fatal(err)
	}
	part := tail(t, l)
	<-g.parted
	if got := g.frames["token"]; len(got) != 1 || !bytes.Equal(got[0], part) {
		t.Errorf("got %d frames", len(got))
	}
	to := &reader{Stream: stream(), parted: make(chan struct{})}
	to.OpenCredit() // Its client may hold what it was given.
	p, err := nearby.Open("Wantsnone", to)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l, err = nearby.ReachSharing("Wantsnone", "token")
	if err != nil {
		t.Fatal(err)
	}
	tail(t, l)
	<-to.parted
	if to.shared.Load() > 0 || to.ReceivedLen == 0 {
		t.Errorf("%d bytes came, in memory %d times", to.ReceivedLen, to.shared.Load())
	}
}

// tail sends a part of a body, and nothing more.
func tail(t *testing.T, l *nearby.Line) (part []byte) {
	t.Helper()
	part = append(dataHead(0), make([]byte, 100<<10)...)
	if err := l.Send(part); err != nil {
		t.Fatal(err)
	}
	l.Close()
	return part
}

// sharers is a gateway that shares memory with each line, as far as it may.
type sharers struct {
	lines chan *nearby.Line
	sizes chan int64
}

func (s sharers) Meet(_ string, l *nearby.Line) bool {
	s.sizes <- l.Share()
	s.lines <- l
	return true
}

func (sharers) ReceiveNearby(string, []byte)         {}
func (sharers) ReceiveShared(string, []byte, []byte) {}
func (sharers) Parted(string, bool)                  {}

//nolint:paralleltest // It counts what the process has.
func TestMemoriesAreBounded(t *testing.T) {
	const most = 16
	s := sharers{make(chan *nearby.Line, 3*most), make(chan int64, 3*most)}
	p, err := nearby.Open("Bounded", s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var lines nearby.Lines
	open := func() (size int64) {
		reach := func() (*nearby.Line, error) { return nearby.ReachSharing("Bounded", "token") }
		if _, err := lines.Go(reach, func(l *nearby.Line) { _ = l.Receive(func([]byte) {}) }); err != nil {
			t.Fatal(err)
		}
		return <-s.sizes
	}
	for i := range most {
		if open() == 0 {
			t.Fatalf("there is no memory for line %d", i)
		}
	}
	if size := open(); size != 0 {
		t.Errorf("one line more shares %d bytes", size)
	}
	lines.Close()
	for range most {
		(<-s.lines).Free()
	}
	lines = nearby.Lines{}
	waittest.Until(t, "all memory is given back", func() bool { return held(t) == 0 })
	if open() == 0 {
		t.Error("there is no memory once the others have left")
	}
	lines.Close()
	(<-s.lines).Free()
	(<-s.lines).Free()
}

// meeting is a gateway that does something with each line when it has come.
type meeting struct {
	sharers
	met func(l *nearby.Line)
}

func (m meeting) Meet(_ string, l *nearby.Line) bool { m.met(l); return true }

// ordinary opens a line, asking for memory, at a gateway that does something else with it than to share memory, and
// checks that it is an ordinary one.
func ordinary(t *testing.T, place string, met func(l *nearby.Line)) {
	t.Helper()
	p, err := nearby.Open(place, meeting{met: met})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	l, err := nearby.ReachSharing(place, "token")
	if err != nil {
		t.Fatal("there is no line:", err)
	}
	defer l.Close()
	if l.HasMemory() {
		t.Error("there is memory")
	}
}

//nolint:paralleltest // It changes what the kernel can, and counts what the process has.
func TestNoMemoryIsMadeWhereItsPagesCouldNotBeKept(t *testing.T) {
	nearby.OnAKernelWithoutSeals(t)
	ordinary(t, "Unsealed", func(l *nearby.Line) {
		if size := l.Share(); size != 0 {
			t.Errorf("it shares %d bytes, and would end its stream at the first", size)
			l.Free()
		}
	})
	waittest.Until(t, "all is given back", func() bool { return held(t) == 0 })
}

//nolint:paralleltest // It counts what the process has.
func TestMemoryThatCannotBeSentIsNone(t *testing.T) {
	ordinary(t, "Unsent", func(l *nearby.Line) {
		if l.Share() == 0 {
			t.Error("there is no memory to begin with")
		}
		l.CannotGive()
		l.Free()
	})
	waittest.Until(t, "all is given back", func() bool { return held(t) == 0 })
}

// TestNoMemoryIsMadeWithoutRoom runs itself in a process that may have no file of a mebibyte.
//
//nolint:paralleltest // It counts what the process has.
func TestNoMemoryIsMadeWithoutRoom(t *testing.T) {
	const inside = "NEARBY_WITHOUT_ROOM"
	if os.Getenv(inside) == "" {
		c := exec.Command(os.Args[0], "-test.run=^TestNoMemoryIsMadeWithoutRoom$")
		c.Env = append(os.Environ(), inside+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	const little = 100 << 10
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: little, Max: little}); err != nil {
		t.Fatal(err)
	}
	ordinary(t, "Roomless", func(l *nearby.Line) {
		if size := l.Share(); size != 0 {
			t.Errorf("it shares %d bytes", size)
		}
	})
	if n := held(t); n != 0 {
		t.Errorf("%d memories and files are left", n)
	}
}

// TestWorkerTakesNoMemoryThatItCannotUse has gateways that answer with other files than they should.
//
//nolint:paralleltest // It counts what the process has.
func TestWorkerTakesNoMemoryThatItCannotUse(t *testing.T) {
	const fixed = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	for name, files := range map[string][]int{
		"none":             {},
		"no memory":        {devNull(t)},
		"may shrink":       {memfd(t, 1<<20, unix.F_SEAL_GROW)},
		"too small":        {memfd(t, 4<<10, fixed)},
		"too large":        {memfd(t, 2<<20, fixed)},
		"cannot be mapped": {memfd(t, 1<<20, fixed|unix.F_SEAL_FUTURE_WRITE)},
		"two":              {memfd(t, 4<<10, fixed), devNull(t)},
	} {
		before := held(t)
		if l := answered(t, files); l.HasMemory() {
			t.Errorf("%s: it is used", name)
		}
		if n := held(t) - before; n != 0 {
			t.Errorf("%s: %d memories and files are left", name, n)
		}
	}
}

// answered is the line of a worker whose gateway answers with files.
func answered(t *testing.T, files []int) *nearby.Line {
	t.Helper()
	name := rand.Text()
	hosted(t) // Makes the folder.
	at, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(folder(), name)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = at.Close() })
	go func() {
		c, err := at.AcceptUnix()
		if err != nil {
			return
		}
		_, _, _ = c.WriteMsgUnix([]byte("+"), unix.UnixRights(files...), nil)
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	}()
	l, err := nearby.ReachSharing(name, "token")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// memfd is memory like a gateway's, but for its size and seals.
func memfd(t *testing.T, size int64, seals int) (file int) {
	t.Helper()
	file, err := unix.MemfdCreate("modulebus", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(file) })
	if err := unix.Ftruncate(file, size); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(file), unix.F_ADD_SEALS, seals); err != nil {
		t.Fatal(err)
	}
	return file
}

func devNull(t *testing.T) int {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return int(f.Fd())
}
