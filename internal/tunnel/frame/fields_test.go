package frame_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/tunneltest"
)

func TestFieldsHoldNothingThatEndsALine(t *testing.T) {
	t.Parallel()
	got := frame.FieldsOf(http.Header{"x-a": {"1\r\nInjected: 2\x00"}, "No Name": {"x"}, "": {"x"}, "Trailer:": {"x"}})
	if want := []frame.Field{{Name: "X-A", Value: "1  Injected: 2 "}}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if frame.FieldsOf(nil) != nil {
		t.Error("no header has fields")
	}
	if got := frame.SafeValue("a\r\nb"); got != "a  b" {
		t.Errorf("got %q", got)
	}
}

func TestEndToEndLeavesTheFieldsOfTheHopBehind(t *testing.T) {
	t.Parallel()
	fields := func(pairs ...string) (all []frame.Field) {
		for i := 0; i < len(pairs); i += 2 {
			all = append(all, frame.Field{Name: pairs[i], Value: pairs[i+1]})
		}
		return all
	}
	for what, tt := range map[string]struct{ fields, want []frame.Field }{
		"the connection's own":  {fields("Connection", "close", "Keep-Alive", "5", "Transfer-Encoding", "chunked", "Upgrade", "h2c", "A", "b"), fields("A", "b")},
		"those that it names":   {fields("Connection", "x-a, Close", "Connection", "X-B", "X-A", "1", "X-B", "2", "X-C", "3"), fields("X-C", "3")},
		"the proxy's":           {fields("Proxy-Authorization", "secret", "Proxy-Authenticate", "x", "Proxy-Connection", "close"), nil},
		"the tunnel's":          {fields("Modulebus-Error", "tunnel", "Modulebus-", "x", "Modulebusy", "kept"), fields("Modulebusy", "kept")},
		"encodings of the hop":  {fields("Te", "gzip"), nil},
		"but trailers are told": {fields("Te", "gzip, trailers"), fields("Te", "trailers")},
	} {
		if got := frame.EndToEnd(tt.fields); !slices.Equal(got, tt.want) {
			t.Errorf("%s: left with %q, want %q", what, got, tt.want)
		}
	}
}

func TestTokensAreThoseOfRFC9110(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{"GET": true, "X-A_b.c!": true, "": false, "a b": false, "a:": false, "ä": false, "a\n": false} {
		if got := frame.IsToken(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
}

func TestCodeIsKnownByItsName(t *testing.T) {
	t.Parallel()
	seen := map[string]frame.Code{}
	for c := frame.CodeMalformed; c <= frame.CodeLeft; c++ {
		name := c.String()
		if other, twice := seen[name]; twice || strings.HasPrefix(name, "code ") {
			t.Errorf("%d is called %s, as %d is", c, name, other)
		}
		seen[name] = c
	}
	for _, c := range []frame.Code{0, frame.CodeLeft + 1, 65535} {
		if name := c.String(); !strings.HasPrefix(name, "code ") {
			t.Errorf("%d, which nobody knows, is called %s", c, name)
		}
	}
}

func TestResetTextIsCutAndALongerOneRefused(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", frame.MaxText+1)
	f, err := frame.Decode(tunneltest.Encode(frame.NewReset(frame.CodePanic, long)))
	if r, ok := f.(*frame.Reset); err != nil || !ok || r.Text != long[:frame.MaxText] || r.Status != http.StatusBadGateway {
		t.Errorf("got %v, %v", f, err)
	}
	raw := append([]byte("\x18\x01\x02\x00\x81\x04"), long...) // 513 bytes of text
	if _, err := frame.Decode(raw); !errors.Is(err, frame.ErrMalformed) {
		t.Errorf("a longer one: %v", err)
	}
}

func TestComposedFrameHasNothingOfTheOneBefore(t *testing.T) {
	t.Parallel()
	for _, f := range slices.Backward(tunneltest.Samples()) {
		composed := frame.Compose(f)
		if got := string(*composed); got != string(tunneltest.Encode(f)) {
			t.Errorf("%T is composed as %q", f, got)
		}
		frame.Recycle(composed)
	}
}
