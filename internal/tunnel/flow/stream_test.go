package flow_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// wire hands each frame to the stream at the other end at once.
type wire struct {
	limit int
	to    *flow.Stream
	wrong frame.Code
	by    flow.Channel // of the last frame
}

func (w *wire) MaxFrame() int { return w.limit }

func (*wire) Near(flow.Address, func([]byte), func()) flow.Line { return nil }

func (w *wire) Send(by flow.Channel, _ flow.Address, _ string, raw []byte) error {
	w.by = by
	raw = bytes.Clone(raw)
	f, err := frame.Decode(raw)
	if err != nil {
		return err
	}
	switch f := f.(type) {
	case *frame.Data:
		w.wrong = max(w.wrong, w.to.ReceiveData(f, raw))
	case *frame.End:
		w.wrong = max(w.wrong, w.to.ReceiveEnd(f.Offset, f.Trailers))
	case *frame.Credit:
		w.to.ReceiveCredit(f.Offset)
	}
	return nil
}

// pair returns a stream that sends, and the one that gets it, with the wire there.
func pair(limit int) (from, to *flow.Stream, there *wire) {
	there, back := &wire{limit: limit}, &wire{limit: limit}
	newStream := func(w *wire) *flow.Stream {
		return &flow.Stream{Transport: w, Budget: &flow.Budget{}, Stats: &flow.Stats{}, Peer: flow.Address{Process: "p", Token: "t"}}
	}
	from, to = newStream(there), newStream(back)
	there.to, back.to = to, from
	return from, to, there
}

// What is written is read, however it is cut, and never more than there is credit for.
func TestStreamCarriesABody(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		body := rapid.SliceOfN(rapid.Byte(), 1, 5000).Draw(rt, "body")
		times := rapid.IntRange(1, 200).Draw(rt, "times")
		from, to, there := pair(rapid.IntRange(100, 40_000).Draw(rt, "limit"))
		credit, _ := to.OpenCredit()
		from.ReceiveCredit(credit)
		sent := make(chan error, 1)
		go func() {
			var err error
			for range times {
				_, err = from.Write(append(make([]byte, flow.Room), body...), false, flow.Limits{})
			}
			sent <- errors.Join(err, from.Finish([]frame.Field{{Name: "A", Value: "b"}}))
		}()
		var got []byte
		for {
			part, _, err := to.Read(flow.Limits{})
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				rt.Fatal(err)
			}
			got = append(got, part.Bytes...)
			n := len(part.Bytes)
			part.Cut(n)
			to.Consumed(n)
		}
		if err := <-sent; err != nil || there.wrong != 0 || !bytes.Equal(got, bytes.Repeat(body, times)) || len(to.Trailers) != 1 {
			rt.Errorf("%d bytes of %d, %v, reset %v", len(got), times*len(body), err, there.wrong)
		}
		to.CloseCredit()
		if streams, lent := to.Budget.Lent(); streams != 0 || lent != 0 {
			rt.Errorf("left: %d streams, %d bytes", streams, lent)
		}
	})
}

func TestStreamRefusesWhatIsLostOrTooMuch(t *testing.T) {
	t.Parallel()
	_, to, _ := pair(1000)
	credit, _ := to.OpenCredit()
	for want, d := range map[frame.Code]*frame.Data{
		frame.CodeLost: {Offset: 1, Bytes: []byte("x")},
		frame.CodeFlow: {Bytes: make([]byte, credit+1)},
	} {
		if got := to.ReceiveData(d, nil); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if got := to.ReceiveEnd(7, nil); got != frame.CodeLost {
		t.Errorf("an end that is too early: %v", got)
	}
	sent := frame.State{Sent: 10}
	if to.ReceiveState(sent) || !to.ReceiveState(sent) {
		t.Error("what two heartbeats in a row miss is lost, and not before")
	}
}

func TestStreamWaitsEnd(t *testing.T) {
	t.Parallel()
	over, end := context.WithCancel(t.Context())
	end()
	passed := flow.Deadline{}
	passed.Set(time.Unix(1, 0))
	fired := make(chan time.Time, 1)
	fired <- time.Time{}
	for name, l := range map[string]flow.Limits{"context": {Ctx: over}, "deadline": {Deadline: passed.Channel()}, "timer": {Timer: fired}} {
		from, to, _ := pair(1000)
		if _, _, err := to.Read(l); err == nil {
			t.Errorf("%s: read", name)
		}
		if name != "timer" && from.AwaitCredit(l, &atomic.Bool{}) {
			t.Errorf("%s: credit", name)
		}
	}
}

func TestStreamThatFailsEndsBothWays(t *testing.T) {
	t.Parallel()
	from, to, _ := pair(1000)
	if !from.Fail(io.ErrClosedPipe) || from.Fail(io.EOF) || !from.CanSend(1) {
		t.Error("the first reason stays")
	}
	if _, err := from.Write(make([]byte, flow.Room+1), true, flow.Limits{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write: %v", err)
	}
	to.Lock()
	to.SendErr = io.ErrShortWrite
	to.Unlock()
	if _, err := to.Write(make([]byte, flow.Room+1), true, flow.Limits{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("write to a peer that takes no more: %v", err)
	}
	if _, failed := to.Watch(); !failed {
		t.Error("the peer takes no more, and it is not seen")
	}
}

func TestBudgetIsNeverExceeded(t *testing.T) {
	t.Parallel()
	b := &flow.Budget{}
	var all []*flow.Stream
	for range flow.MaxStreams {
		s := &flow.Stream{Budget: b}
		if _, ok := s.OpenCredit(); !ok {
			t.Fatal("no room for a stream")
		}
		all = append(all, s)
	}
	if _, ok := (&flow.Stream{Budget: b}).OpenCredit(); ok {
		t.Error("room for one more")
	}
	if _, lent := b.Lent(); lent > 32<<20 {
		t.Errorf("%d bytes", lent)
	}
	for _, s := range all {
		s.CloseCredit()
	}
	if streams, lent := b.Lent(); streams != 0 || lent != 0 {
		t.Errorf("left: %d streams, %d bytes", streams, lent)
	}
}

func TestTableFindsStreams(t *testing.T) {
	t.Parallel()
	table := flow.NewTable[int]()
	table.Add("a", 1)
	table.Add("b", 2)
	table.Remove("a")
	_, gone := table.Find("a")
	if v, ok := table.Find("b"); !ok || v != 2 || gone || len(table.All()) != 1 {
		t.Errorf("got %d, %v", v, table.All())
	}
}

// leftLine is a line with shared memory on which the other side reads no more: it has sent all.
type leftLine struct{ asked int }

func (l *leftLine) Send([]byte) error { l.asked++; return io.ErrClosedPipe }
func (*leftLine) Leave()              {}
func (*leftLine) Close()              {}
func (*leftLine) Share() int64        { return 1 << 20 }
func (*leftLine) Free()               {}

// TestCreditThatNobodyTakesCutsNoBody has the rest of a body arrive after that: its sender has ended.
func TestCreditThatNobodyTakesCutsNoBody(t *testing.T) {
	t.Parallel()
	from, to, _ := pair(1 << 20)
	to.Shares = true
	credit, _ := to.OpenCredit()
	l := &leftLine{}
	if !to.Join(l) {
		t.Fatal("the line is not taken")
	}
	half := make([]byte, credit/2+1)
	rest := make([]byte, int(credit)-len(half))
	for _, d := range []frame.Data{{Bytes: half}, {Offset: uint64(len(half)), Bytes: rest, Last: true}} {
		if wrong := to.ReceiveData(&d, nil); wrong != 0 {
			t.Fatal(wrong)
		}
		p, _, err := to.Read(flow.Limits{})
		if err != nil {
			t.Fatal("the body is cut:", err)
		}
		to.Consumed(len(p.Bytes))
	}
	if _, _, err := to.Read(flow.Limits{}); !errors.Is(err, io.EOF) || l.asked != 1 || !from.CanSend(int(credit)+1) {
		t.Errorf("%v; credit was sent %d times, and the sender may have given the line up", err, l.asked)
	}
}

// TestCreditGoesOverTheTransportBehindALineThatWasGivenUp has a line end before anything was on it.
func TestCreditGoesOverTheTransportBehindALineThatWasGivenUp(t *testing.T) {
	t.Parallel()
	from, to, _ := pair(1 << 20)
	to.Shares = true
	credit, _ := to.OpenCredit()
	l := &leftLine{}
	if !to.Join(l) || !to.Unjoin() {
		t.Fatal("the line is not taken, or not given up")
	}
	if wrong := to.ReceiveData(&frame.Data{Bytes: make([]byte, credit)}, nil); wrong != 0 {
		t.Fatal(wrong)
	}
	p, _, _ := to.Read(flow.Limits{})
	to.Consumed(len(p.Bytes))
	if back := to.Transport.(*wire); l.asked != 0 || !from.CanSend(int(credit)+1) || back.by != flow.Control {
		t.Errorf("credit was sent %d times on the line, and on channel %d", l.asked, back.by)
	}
}
