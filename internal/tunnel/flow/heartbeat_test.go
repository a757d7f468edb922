package flow_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

func TestStreamStateTellsOfAnEndThatIsLost(t *testing.T) {
	t.Parallel()
	from, to, _ := pair(1000)
	credit, _ := to.OpenCredit()
	from.ReceiveCredit(credit)
	if _, err := from.Write(make([]byte, flow.Room+10), false, flow.Limits{}); err != nil {
		t.Fatal(err)
	}
	if s := from.State("t"); s != (frame.State{Token: "t", Sent: 10}) {
		t.Errorf("before the end it tells %+v", s)
	}
	if s := to.State("u"); s.Credit != credit || s.Sent != 0 {
		t.Errorf("the other end tells %+v", s)
	}
	from.Peer = flow.Address{} // What is sent now gets lost.
	if err := from.Finish(nil); err != nil {
		t.Fatal(err)
	}
	s := from.State("t")
	if first, second := to.ReceiveState(s), to.ReceiveState(s); first || !second {
		t.Errorf("that the end is lost is seen at the first heartbeat: %v, at the second: %v", first, second)
	}
}

func TestStreamThatGetsOnHasLostNothing(t *testing.T) {
	t.Parallel()
	_, to, _ := pair(1000)
	to.OpenCredit()
	ahead := frame.State{Sent: 100}
	for at := range uint64(3) { // The sender is ahead at each heartbeat, and something came in between.
		if to.ReceiveState(ahead) {
			t.Fatal("what is under way is taken for lost")
		}
		if code := to.ReceiveData(&frame.Data{Offset: at, Bytes: []byte("x")}, nil); code != 0 {
			t.Fatal(code)
		}
	}
}

// TestStreamLetsAReaderThatKeepsUpHaveMoreAtOnce reads all that may be sent at once, again and again.
func TestStreamLetsAReaderThatKeepsUpHaveMoreAtOnce(t *testing.T) {
	t.Parallel()
	const size = 4 << 20
	from, to, there := pair(40_000)
	first, _ := to.OpenCredit()
	from.ReceiveCredit(first)
	window := first
	for to.ConsumedLen() < size {
		if _, err := from.Write(make([]byte, flow.Room+int(window)), false, flow.Limits{}); err != nil {
			t.Fatal(err)
		}
		read := 0
		for more := true; more; {
			part, another, err := to.Read(flow.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			read, more = read+len(part.Bytes), another
			part.Cut(len(part.Bytes))
		}
		to.Consumed(read)
		window = to.State("").Credit - to.ConsumedLen()
	}
	if there.wrong != 0 || window <= first {
		t.Errorf("%d bytes may be under way, of %d at the beginning; reset %v", window, first, there.wrong)
	}
	if _, lent := to.Budget.Lent(); lent > 16<<20 {
		t.Errorf("%d bytes are lent", lent)
	}
}

func TestStreamWritesNoMoreThanItsCredit(t *testing.T) {
	t.Parallel()
	from, to, _ := pair(1000)
	to.OpenCredit()
	from.ReceiveCredit(10)
	passed := flow.Deadline{}
	passed.Set(time.Unix(1, 0))
	n, err := from.Write(append(make([]byte, flow.Room), bytes.Repeat([]byte("x"), 20)...), true, flow.Limits{Deadline: passed.Channel()})
	if n != 10 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	if from.CanSend(1) || to.ReceivedLen != 10 {
		t.Errorf("%d bytes came, and more can be sent: %v", to.ReceivedLen, from.CanSend(1))
	}
}

func TestStreamLastIsBehindTheBody(t *testing.T) {
	t.Parallel()
	from, to, _ := pair(1000)
	if from.Last() != flow.Control {
		t.Error("without a body there is nothing to overtake")
	}
	credit, _ := to.OpenCredit()
	if !to.Receives() || from.Receives() {
		t.Error("only the end that gave credit gets data")
	}
	from.ReceiveCredit(credit)
	if _, err := from.Write(make([]byte, flow.Room+1), false, flow.Limits{}); err != nil || from.Last() != flow.Bulk {
		t.Errorf("behind a body it is %v, %v", from.Last(), err)
	}
	to.Lock()
	to.Discard()
	to.Ended = true
	to.Unlock()
	if _, _, err := to.Read(flow.Limits{}); !errors.Is(err, io.EOF) {
		t.Errorf("what was discarded is read: %v", err)
	}
}

// broken is a transport that cannot send.
type broken struct{ wire }

func (*broken) Send(flow.Channel, flow.Address, string, []byte) error { return io.ErrNoProgress }

func TestStreamThatCannotSendIsLost(t *testing.T) {
	t.Parallel()
	s := &flow.Stream{Transport: &broken{}, Budget: &flow.Budget{}, Stats: &flow.Stats{}}
	if err := s.Post(flow.Control, []byte("x")); err != nil || s.Stats.FramesOut.Load() != 0 {
		t.Errorf("without a peer, %v, and %d frames are sent", err, s.Stats.FramesOut.Load())
	}
	s.Peer = flow.Address{Process: "p"}
	if err := s.Post(flow.Control, []byte("x")); !errors.Is(err, io.ErrNoProgress) || !errors.Is(s.Err, flow.ErrLost) {
		t.Errorf("the frame: %v, the stream: %v", err, s.Err)
	}
}

func TestStatsCountFramesAndResets(t *testing.T) {
	t.Parallel()
	var s flow.Stats
	s.Received(make([]byte, 3))
	s.Sent(make([]byte, 5))
	s.ResetsIn.Count(frame.CodePanic)
	s.ResetsIn.Count(1000) // A later version's.
	if in, out := s.BytesIn.Load(), s.BytesOut.Load(); in != 3 || out != 5 || s.FramesIn.Load() != 1 || s.FramesOut.Load() != 1 {
		t.Errorf("%d bytes in, %d out", in, out)
	}
	if s.ResetsIn.Load(frame.CodePanic) != 1 || s.ResetsIn.Load(0) != 1 {
		t.Error("resets are not counted by their code")
	}
}

func TestPartThatIsKeptIsNotReused(t *testing.T) {
	t.Parallel()
	_, to, _ := pair(1000)
	to.OpenCredit()
	raw := flow.Buffer(20 << 10)
	copy(raw, "kept")
	to.ReceiveData(&frame.Data{Bytes: raw[:4]}, raw)
	part, _, err := to.Read(flow.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	part = part.Kept()
	held := part.Bytes
	part.Cut(len(held))
	for range 100 {
		copy(flow.Buffer(20<<10), "else")
	}
	if string(held) != "kept" {
		t.Errorf("it holds %q", held)
	}
}

func TestTokenIsOneOfASubject(t *testing.T) {
	t.Parallel()
	legal, seen := regexp.MustCompile(`^[A-Za-z0-9_-]{16}$`), map[string]bool{}
	for range 1000 {
		token := flow.NewToken()
		if !legal.MatchString(token) || seen[token] {
			t.Fatalf("got %q, which was there before: %v", token, seen[token])
		}
		seen[token] = true
	}
}
