package tunnel_test

import (
	"bytes"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/tunnel"
)

var (
	name   = rapid.Map(rapid.StringMatching(`[A-Za-z0-9!#$%&'*+.^_|~-]{1,20}`), http.CanonicalHeaderKey)
	value  = rapid.StringMatching(`[^\r\n\x00]{0,40}`)
	length = rapid.Int64Range(-1, math.MaxInt64-1)
	offset = rapid.Uint64Range(0, math.MaxInt64)
	body   = rapid.SliceOfN(rapid.Byte(), 0, 300)
	fields = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) tunnel.Field {
		return tunnel.Field{Name: name.Draw(t, "name"), Value: value.Draw(t, "value")}
	}), 0, 30)
)

func anyRequest(t *rapid.T) *tunnel.Request {
	text := func(label string) string { return rapid.String().Draw(t, label) }
	return &tunnel.Request{
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

func anyResponse(t *rapid.T) *tunnel.Response {
	return &tunnel.Response{
		More:          rapid.Bool().Draw(t, "more"),
		Upgrade:       rapid.Bool().Draw(t, "upgrade"),
		Status:        rapid.IntRange(0, 999).Draw(t, "status"),
		ContentLength: length.Draw(t, "length"),
		Fields:        fields.Draw(t, "fields"),
		Trailers:      fields.Draw(t, "trailers"),
		Body:          body.Draw(t, "body"),
	}
}

func anyReset(t *rapid.T) *tunnel.Reset {
	return &tunnel.Reset{
		Code:      tunnel.Code(rapid.Uint16().Draw(t, "code")),
		Status:    rapid.IntRange(0, 999).Draw(t, "status"),
		Retryable: rapid.Bool().Draw(t, "retryable"),
		Text:      rapid.StringN(0, 100, tunnel.MaxText).Draw(t, "text"),
	}
}

// anyOther is one frame of each other type.
func anyOther(t *rapid.T) []tunnel.Frame {
	states := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) tunnel.State {
		return tunnel.State{
			Token: rapid.StringN(0, 10, -1).Draw(t, "token"), Credit: offset.Draw(t, "credit"),
			Sent: offset.Draw(t, "sent"), Gone: rapid.Bool().Draw(t, "gone"),
		}
	}), 0, 10)
	return []tunnel.Frame{
		&tunnel.Info{Status: rapid.SampledFrom([]int{100, 103, 199}).Draw(t, "info"), Fields: fields.Draw(t, "fields")},
		&tunnel.Data{Last: rapid.Bool().Draw(t, "last"), Offset: offset.Draw(t, "offset"), Bytes: body.Draw(t, "bytes")},
		&tunnel.End{Offset: offset.Draw(t, "offset"), Trailers: fields.Draw(t, "trailers")},
		&tunnel.Accept{Credit: offset.Draw(t, "credit")},
		&tunnel.Credit{Offset: offset.Draw(t, "credit")},
		&tunnel.Ping{Answer: rapid.Bool().Draw(t, "answer"), States: states.Draw(t, "states")},
		&tunnel.Pong{States: states.Draw(t, "states")},
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, want := range append(anyOther(t), anyRequest(t), anyResponse(t), anyReset(t)) {
			got, err := tunnel.Decode(encode(want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}

func TestEveryPartOfAFrameIsNoFrame(t *testing.T) {
	for _, f := range samples() {
		whole := encode(f)
		for n := range whole {
			if _, err := tunnel.Decode(whole[:n]); !errors.Is(err, tunnel.ErrMalformed) {
				t.Errorf("%T, %d of %d bytes: got %v", f, n, len(whole), err)
			}
		}
		if _, err := tunnel.Decode(append(whole, 0)); !errors.Is(err, tunnel.ErrMalformed) {
			t.Errorf("%T with one byte more: got %v", f, err)
		}
	}
}

func TestMalformedFrames(t *testing.T) {
	field := func(name, value string) string {
		return string(encode(&tunnel.Response{Status: 200, Fields: []tunnel.Field{{Name: name, Value: value}}}))
	}
	many := &tunnel.Response{Status: 200}
	for range tunnel.MaxFields + 1 {
		many.Fields = append(many.Fields, tunnel.Field{Name: "A"})
	}
	tests := map[string]string{
		"another version":             "\x28\x01\x01\x00\x00",
		"an unknown type":             "\x1b\x00\x01\x00\x00",
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
		"too many fields":             string(encode(many)),
		"a field without a name":      field("", "x"),
		"a name in lower case":        field("x-a", "x"),
		"a name with a colon":         field("Trailer:A", "x"),
		"a name with a space":         field("A ", "x"),
		"a value with CR":             field("A", "x\ry"),
		"a value with LF":             field("A", "x\ny"),
		"a value with NUL":            field("A", "x\x00y"),
	}
	for name, frame := range tests {
		t.Run(name, func(t *testing.T) {
			if f, err := tunnel.Decode([]byte(frame)); !errors.Is(err, tunnel.ErrMalformed) || f != nil {
				t.Errorf("got %v, %v", f, err)
			}
		})
	}
}

func TestADeadlineAboutToPassIsNotNone(t *testing.T) {
	f, err := tunnel.Decode(encode(&tunnel.Request{Deadline: 1}))
	if err != nil || f.(*tunnel.Request).Deadline != time.Millisecond {
		t.Errorf("got %v, %v", f, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		f.Add(encode(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := tunnel.Decode(b)
		if err != nil {
			return
		}
		if got := encode(frame); !bytes.Equal(got, b) {
			t.Errorf("read  %x\nwrote %x", b, got)
		}
		if n := room(frame); 3*n > len(b) {
			t.Errorf("room for %d fields from %d bytes", n, len(b))
		}
	})
}

// FuzzServe holds the worker to a readable reply for any frame whatever.
func FuzzServe(f *testing.F) {
	for _, s := range samples() {
		f.Add(encode(s))
	}
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = r.Write(w) })
	f.Fuzz(func(t *testing.T, b []byte) {
		reply, err := tunnel.Decode(answerOf(t.Context(), echo, b, nil))
		if _, asked := reply.(*tunnel.Request); err != nil || asked {
			t.Errorf("got %T, %v", reply, err)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	request := browser()
	frame := encode(request)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		dst := make([]byte, 0, 2*len(frame))
		for b.Loop() {
			dst = tunnel.Append(dst[:0], request)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := tunnel.Decode(frame); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func encode(f tunnel.Frame) []byte { return tunnel.Append(nil, f) }

func room(f tunnel.Frame) int {
	switch f := f.(type) {
	case *tunnel.Request:
		return cap(f.Fields) + cap(f.Trailers)
	case *tunnel.Response:
		return cap(f.Fields) + cap(f.Trailers)
	case *tunnel.Info:
		return cap(f.Fields)
	case *tunnel.End:
		return cap(f.Trailers)
	case *tunnel.Ping:
		return cap(f.States)
	}
	return 0
}

func samples() []tunnel.Frame {
	return []tunnel.Frame{
		browser(),
		&tunnel.Request{Method: "POST", Target: "/a", ContentLength: 2, Body: []byte("hi")},
		&tunnel.Response{Status: 200, ContentLength: -1, Body: []byte("x"), Trailers: []tunnel.Field{{Name: "A", Value: "b"}}},
		&tunnel.Reset{Code: tunnel.CodePanic, Status: 502, Retryable: true, Text: "panicked"},
		&tunnel.Info{Status: 103, Fields: []tunnel.Field{{Name: "Link", Value: "</a>"}}},
		&tunnel.End{Offset: 300, Trailers: []tunnel.Field{{Name: "A", Value: "b"}}},
		&tunnel.Accept{Credit: 1 << 18},
		&tunnel.Credit{Offset: 1 << 20},
		&tunnel.Ping{Answer: true, States: []tunnel.State{{Token: "a", Credit: 1, Sent: 2}}},
		&tunnel.Pong{States: []tunnel.State{{Token: "a", Gone: true}}},
	}
}

// browser is a request with twelve fields, as browsers send them.
func browser() *tunnel.Request {
	return &tunnel.Request{
		Deadline:   90 * time.Second,
		RemoteAddr: "203.0.113.7:51234",
		Scheme:     "https",
		Method:     "GET",
		Authority:  "matrix.example.org",
		Target:     "/_matrix/client/v3/rooms/%21abc%3Aexample.org/state?a=1;b=2",
		Fields: []tunnel.Field{
			{Name: "Accept", Value: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
			{Name: "Accept-Encoding", Value: "gzip, deflate, br"},
			{Name: "Accept-Language", Value: "en-GB,en;q=0.5"},
			{Name: "Authorization", Value: "Bearer syt_" + strings.Repeat("x", 40)},
			{Name: "Cache-Control", Value: "no-cache"},
			{Name: "Cookie", Value: "session=0123456789abcdef"},
			{Name: "Origin", Value: "https://app.example.org"},
			{Name: "Referer", Value: "https://app.example.org/"},
			{Name: "User-Agent", Value: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
			{Name: "X-Forwarded-For", Value: "203.0.113.7"},
			{Name: "X-Forwarded-Host", Value: "matrix.example.org"},
			{Name: "X-Forwarded-Proto", Value: "https"},
		},
	}
}
