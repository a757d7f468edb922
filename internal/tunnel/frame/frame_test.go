package frame_test

import (
	"bytes"
	"errors"
	"math"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
)

var (
	name   = rapid.Map(rapid.StringMatching(`[A-Za-z0-9!#$%&'*+.^_|~-]{1,20}`), http.CanonicalHeaderKey)
	value  = rapid.StringMatching(`[^\r\n\x00]{0,40}`)
	length = rapid.Int64Range(-1, math.MaxInt64-1)
	offset = rapid.Uint64Range(0, math.MaxInt64)
	body   = rapid.SliceOfN(rapid.Byte(), 0, 300)
	fields = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) frame.Field {
		return frame.Field{Name: name.Draw(t, "name"), Value: value.Draw(t, "value")}
	}), 0, 30)
)

func anyRequest(t *rapid.T) *frame.Request {
	text := func(label string) string { return rapid.String().Draw(t, label) }
	return &frame.Request{
		More:          rapid.Bool().Draw(t, "more"),
		Upgrade:       rapid.Bool().Draw(t, "upgrade"),
		HTTP2:         rapid.Bool().Draw(t, "http2"),
		Credit:        offset.Draw(t, "credit"),
		Deadline:      time.Duration(rapid.Int64Range(0, 1e6).Draw(t, "deadline")) * time.Millisecond,
		ContentLength: length.Draw(t, "length"),
		RemoteAddr:    text("remote"),
		Scheme:        text("scheme"),
		Method:        text("method"),
		Authority:     text("authority"),
		Target:        text("target"),
		Fields:        fields.Draw(t, "fields"),
		Trailers:      fields.Draw(t, "trailers"),
		Body:          body.Draw(t, "body"),
	}
}

func anyResponse(t *rapid.T) *frame.Response {
	return &frame.Response{
		More:          rapid.Bool().Draw(t, "more"),
		Upgrade:       rapid.Bool().Draw(t, "upgrade"),
		Status:        rapid.IntRange(0, 999).Draw(t, "status"),
		ContentLength: length.Draw(t, "length"),
		Fields:        fields.Draw(t, "fields"),
		Trailers:      fields.Draw(t, "trailers"),
		Body:          body.Draw(t, "body"),
	}
}

func anyReset(t *rapid.T) *frame.Reset {
	return &frame.Reset{
		Code:      frame.Code(rapid.Uint16().Draw(t, "code")),
		Status:    rapid.IntRange(0, 999).Draw(t, "status"),
		Retryable: rapid.Bool().Draw(t, "retryable"),
		Text:      rapid.StringN(0, 100, frame.MaxText).Draw(t, "text"),
	}
}

// anyOther is one frame of each other type.
func anyOther(t *rapid.T) []frame.Frame {
	states := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) frame.State {
		return frame.State{
			Token: rapid.StringN(0, 10, -1).Draw(t, "token"), Credit: offset.Draw(t, "credit"),
			Sent: offset.Draw(t, "sent"), Gone: rapid.Bool().Draw(t, "gone"),
		}
	}), 0, 10)
	return []frame.Frame{
		&frame.Info{Status: rapid.SampledFrom([]int{100, 103, 199}).Draw(t, "info"), Fields: fields.Draw(t, "fields")},
		&frame.Data{Last: rapid.Bool().Draw(t, "last"), Offset: offset.Draw(t, "offset"), Bytes: body.Draw(t, "bytes")},
		&frame.Part{Last: rapid.Bool().Draw(t, "last"), Offset: offset.Draw(t, "offset"), Bytes: body.Draw(t, "bytes")},
		&frame.End{Offset: offset.Draw(t, "offset"), Trailers: fields.Draw(t, "trailers")},
		&frame.Accept{Credit: offset.Draw(t, "credit")},
		&frame.Credit{Offset: offset.Draw(t, "credit")},
		&frame.Ping{Answer: rapid.Bool().Draw(t, "answer"), States: states.Draw(t, "states")},
		&frame.Pong{States: states.Draw(t, "states")},
	}
}

func TestFrameThatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, want := range append(anyOther(t), anyRequest(t), anyResponse(t), anyReset(t)) {
			got, err := frame.Decode(tunneltest.Encode(want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func TestFrameThatIsCutIsNoFrame(t *testing.T) {
	for _, f := range tunneltest.Samples() {
		whole := tunneltest.Encode(f)
		for n := range whole {
			if _, err := frame.Decode(whole[:n]); !errors.Is(err, frame.ErrMalformed) {
				t.Errorf("%T, %d of %d bytes: got %v", f, n, len(whole), err)
			}
		}
		if _, err := frame.Decode(append(whole, 0)); !errors.Is(err, frame.ErrMalformed) {
			t.Errorf("%T with one byte more: got %v", f, err)
		}
	}
}

func TestFrameThatIsMalformedIsRefused(t *testing.T) {
	field := func(name, value string) string {
		return string(tunneltest.Encode(&frame.Response{Status: 200, Fields: []frame.Field{{Name: name, Value: value}}}))
	}
	many := &frame.Response{Status: 200}
	for range frame.MaxFields + 1 {
		many.Fields = append(many.Fields, frame.Field{Name: "A"})
	}
	tests := map[string]string{
		"another version":             "\x28\x01\x01\x00\x00",
		"an unknown type":             "\x1c\x00\x01\x00\x00",
		"a state beyond the frame":    "\x1a\x00\x7f\x00\x00",
		"a final status as info":      "\x13\x00\xc8\x01\x00",
		"a switch as info":            "\x13\x00\x65\x00",
		"an end that is not one":      "\x15\x00\x01\x00",
		"not whole":                   "\x18\x00\x01\x00\x00",
		"an unknown flag":             "\x18\x03\x01\x00\x00",
		"a long spelling of a number": "\x18\x01\x81\x00\x00\x00",
		"a number over its limit":     "\x18\x01\xff\xff\x7f\x00\x00",
		"a body beyond the frame":     "\x12\x01\x7f\x00\x00\x00\x00",
		"a count beyond the frame":    "\x12\x01\x00\x00\x00\xff\x07\x00",
		"too many fields":             string(tunneltest.Encode(many)),
		"a field without a name":      field("", "x"),
		"a name in lower case":        field("x-a", "x"),
		"a name with a colon":         field("Trailer:A", "x"),
		"a name with a space":         field("A ", "x"),
		"a value with CR":             field("A", "x\ry"),
		"a value with LF":             field("A", "x\ny"),
		"a value with NUL":            field("A", "x\x00y"),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			if f, err := frame.Decode([]byte(raw)); !errors.Is(err, frame.ErrMalformed) || f != nil {
				t.Errorf("got %v, %v", f, err)
			}
		})
	}
}

func TestHeaderComesBackFromItsFields(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := http.Header(rapid.MapOf(name, rapid.SliceOfN(value, 1, 4)).Draw(t, "header"))
		got := frame.HeaderOf(frame.FieldsOf(want))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		for name := range got { // The values share memory, and none may grow into another's.
			got[name] = append(got[name], "more")
		}
		for name, values := range want {
			if !slices.Equal(got[name], append(slices.Clone(values), "more")) {
				t.Fatalf("%s became %q", name, got[name])
			}
		}
	})
}

func TestDeadlineAboutToPassIsNotNone(t *testing.T) {
	f, err := frame.Decode(tunneltest.Encode(&frame.Request{Deadline: 1}))
	if err != nil || f.(*frame.Request).Deadline != time.Millisecond {
		t.Errorf("got %v, %v", f, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range tunneltest.Samples() {
		f.Add(tunneltest.Encode(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		decoded, err := frame.Decode(b)
		if err != nil {
			return
		}
		if got := tunneltest.Encode(decoded); !bytes.Equal(got, b) {
			t.Errorf("read  %x\nwrote %x", b, got)
		}
		if n := room(decoded); 3*n > len(b) {
			t.Errorf("room for %d fields from %d bytes", n, len(b))
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	request := tunneltest.Browser()
	raw := tunneltest.Encode(request)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		dst := make([]byte, 0, 2*len(raw))
		for b.Loop() {
			dst = frame.Append(dst[:0], request)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := frame.Decode(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func room(f frame.Frame) int {
	switch f := f.(type) {
	case *frame.Request:
		return cap(f.Fields) + cap(f.Trailers)
	case *frame.Response:
		return cap(f.Fields) + cap(f.Trailers)
	case *frame.Info:
		return cap(f.Fields)
	case *frame.End:
		return cap(f.Trailers)
	case *frame.Ping:
		return cap(f.States)
	}
	return 0
}
