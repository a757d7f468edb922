package gateway_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
)

// sharer is a line that shares memory, and counts.
type sharer struct {
	credits, shares, frees int
}

func (s *sharer) Send(raw []byte) error {
	if f, err := frame.Decode(raw); err == nil {
		if _, ok := f.(*frame.Credit); ok {
			s.credits++
		}
	}
	return nil
}

func (*sharer) Leave() {}
func (*sharer) Close() {}

// Share implements [flow.Sharer].
func (s *sharer) Share() int64 { s.shares++; return 1 << 20 }

// Free implements [flow.Sharer].
func (s *sharer) Free() { s.frees++ }

// sharing asks a worker whose response is parts in shared memory, behind their heads, and shows what the client got.
func sharing(t *testing.T, proto int, parts ...any) (*sharer, *gateway.Report, string) {
	t.Helper()
	told := make(chan *gateway.Report, 1)
	l := &sharer{}
	s := &scripted{script: func(g *gateway.Gateway, token string, _ []byte) error {
		if !g.Meet(token, l) {
			t.Error("the line is not taken")
		}
		g.Receive(flow.Control, token, flow.Address{Process: "gate.w", Token: "t"},
			tunneltest.Encode(&frame.Response{Status: 200, More: true, ContentLength: -1}))
		for i := 0; i < len(parts); i += 2 {
			g.ReceiveShared(token, tunneltest.Encode(parts[i].(frame.Frame)), []byte(parts[i+1].(string)))
		}
		return nil
	}}
	s.gateway = gateway.New(s, toGate, gateway.Options{Done: func(r *gateway.Report) { told <- r }})
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.ProtoMajor = proto
	func() {
		defer func() { _ = recover() }() // A response that is cut ends in a panic.
		s.gateway.ServeHTTP(w, r)
	}()
	return l, <-told, w.Body.String()
}

func TestPartsInSharedMemoryAreOnesOfTheResponse(t *testing.T) {
	t.Parallel()
	half := strings.Repeat("x", 200<<10)
	l, report, got := sharing(t, 1, &frame.Data{}, half, &frame.Data{Offset: uint64(len(half)), Last: true}, "the end")
	if report.Outcome != gateway.OK || got != half+"the end" || l.shares != 1 || l.frees != 1 {
		t.Errorf("%d bytes, %v %v; memory made %d times, and freed %d times", len(got), report.Outcome, report.Err, l.shares, l.frees)
	}
	if l, _, _ = sharing(t, 1, &frame.Data{}, half, &frame.End{Offset: uint64(len(half))}, ""); l.credits != 1 {
		t.Errorf("%d credits came on the line", l.credits)
	}
}

// TestMemoryIsNotSharedWhereAWriteGoesOn has a client of HTTP/2, whose writes may be read from after they have failed.
func TestMemoryIsNotSharedWhereAWriteGoesOn(t *testing.T) {
	t.Parallel()
	if l, _, _ := sharing(t, 2, &frame.Data{Last: true}, "all"); l.shares != 0 || l.frees != 0 {
		t.Errorf("memory is made %d times, and freed %d times", l.shares, l.frees)
	}
}

func TestPartsInSharedMemoryThatAreNotNextCutTheResponse(t *testing.T) {
	t.Parallel()
	for name, parts := range map[string][]any{
		"a gap":             {&frame.Data{Offset: 1}, "x"},
		"the same again":    {&frame.Data{}, "x", &frame.Data{}, "x"},
		"beyond the credit": {&frame.Data{}, strings.Repeat("x", 1<<20)},
		"bytes twice":       {&frame.Data{Bytes: []byte("x")}, "x"},
		"no data":           {&frame.End{}, "x"},
	} {
		if l, report, _ := sharing(t, 1, parts...); report.Outcome == gateway.OK || l.frees != 1 {
			t.Errorf("%s: %v; memory freed %d times", name, report.Outcome, l.frees)
		}
	}
}
