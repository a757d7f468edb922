package sse

import (
	"net/http/httptest"
	"testing"
)

// TestWriterKeepsDataInItsEvent has data with every end of a line that clients know, which must not become a field of its own.
func TestWriterKeepsDataInItsEvent(t *testing.T) {
	t.Parallel()
	out := httptest.NewRecorder()
	w, err := Begin(out)
	if err != nil {
		t.Fatal(err)
	}
	w.Add("lost", "d-1", []byte("a\r\nb\revent: forged\nc"))
	w.Add("", "", []byte("{}"))
	if err := w.Send(); err != nil {
		t.Fatal(err)
	}
	want := "event: lost\nid: d-1\ndata: a\ndata: b\ndata: event: forged\ndata: c\n\ndata: {}\n\n"
	if got := out.Body.String(); got != want {
		t.Errorf("wrote %q, want %q", got, want)
	}
	if err := w.Send(); err != nil || out.Body.String() != want {
		t.Errorf("sent twice: %v, %q", err, out.Body)
	}
}
