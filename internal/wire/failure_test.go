package wire_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

func TestFailureOf(t *testing.T) {
	t.Parallel()
	const failure, code = wire.HeaderError, wire.HeaderErrorCode
	tests := map[string]struct {
		reply nats.Msg
		want  *wire.Failure
	}{
		"silence":                         {nats.Msg{}, nil},
		"an answer":                       {nats.Msg{Data: []byte("x")}, nil},
		"an answer with headers":          {nats.Msg{Header: nats.Header{"Content-Type": {wire.JSONType}}, Data: []byte("{}")}, nil},
		"the server found nobody":         {nats.Msg{Header: nats.Header{"Status": {"503"}}}, &wire.Failure{Kind: rosterv1.FailureKind_ABSENT}},
		"a status beside an answer":       {nats.Msg{Header: nats.Header{"Status": {"503"}}, Data: []byte("x")}, nil},
		"another status":                  {nats.Msg{Header: nats.Header{"Status": {"408"}}}, &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: "in place of an answer came status 408 of NATS"}},
		"an error without a text":         {nats.Msg{Header: nats.Header{failure: {""}}}, &wire.Failure{Kind: rosterv1.FailureKind_ERROR}},
		"a kind that is empty":            {nats.Msg{Header: nats.Header{"nats-service-error-code": {""}}}, &wire.Failure{Kind: rosterv1.FailureKind_ERROR}},
		"a kind":                          {nats.Msg{Header: nats.Header{code: {"busy"}, failure: {"full"}}}, &wire.Failure{Kind: rosterv1.FailureKind_BUSY, Text: "full"}},
		"a kind without a text":           {nats.Msg{Header: nats.Header{code: {"timeout"}}}, &wire.Failure{Kind: rosterv1.FailureKind_TIMEOUT}},
		"a text without a kind":           {nats.Msg{Header: nats.Header{failure: {"oh"}}}, &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: "oh"}},
		"a kind of another library":       {nats.Msg{Header: nats.Header{code: {"500"}, failure: {"oh"}}}, &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: "oh"}},
		"a worker that says it is absent": {nats.Msg{Header: nats.Header{code: {"absent"}}}, &wire.Failure{Kind: rosterv1.FailureKind_ERROR}},
		"a worker that was not asked":     {nats.Msg{Header: nats.Header{code: {"breaker_open"}}}, &wire.Failure{Kind: rosterv1.FailureKind_ERROR}},
		"a failure beside an answer":      {nats.Msg{Header: nats.Header{code: {"error"}}, Data: []byte("x")}, &wire.Failure{Kind: rosterv1.FailureKind_ERROR}},
		"a text of two lines":             {nats.Msg{Header: nats.Header{failure: {"a\nb"}}}, &wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: "a b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, wire.FailureOf(&tt.reply)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWorkersFailureArrivesAsItWasReported(t *testing.T) {
	t.Parallel()
	kinds := []rosterv1.FailureKind{
		rosterv1.FailureKind_ERROR, rosterv1.FailureKind_PANIC, rosterv1.FailureKind_MALFORMED,
		rosterv1.FailureKind_BUSY, rosterv1.FailureKind_TIMEOUT,
	}
	rapid.Check(t, func(t *rapid.T) {
		f := &wire.Failure{Kind: rapid.SampledFrom(kinds).Draw(t, "kind"), Text: wire.OneLine(rapid.String().Draw(t, "text"))}
		if diff := cmp.Diff(f, wire.FailureOf(&nats.Msg{Header: f.Header()})); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestUnsentRequestIsKnownByItsReply(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want wire.Failure
	}{
		{nats.ErrConnectionClosed, wire.Failure{Kind: rosterv1.FailureKind_ABSENT, Text: "nats: connection closed"}},
		{nats.ErrMaxPayload, wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: "the request is larger than the server's max_payload"}},
	} {
		if diff := cmp.Diff(&tt.want, wire.FailureOf(wire.Unsent(tt.err))); diff != "" {
			t.Error(diff)
		}
	}
}

// lines draws what a module might say to have a header, or a message, of its own making.
var lines = rapid.StringOf(rapid.OneOf(rapid.SampledFrom([]rune("\r\n\t\x00\x7f\u0085 :äé😀")), rapid.Rune()))

func TestFailureIsAlwaysOneHeader(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := lines.Draw(t, "text") + "\r\nNats-Trace-Dest: here\r\n\r\n"
		kind := rosterv1.FailureKind(rapid.Int32Range(-1, 9).Draw(t, "kind"))
		for name, values := range (&wire.Failure{Kind: kind, Text: text}).Header() {
			for _, value := range values {
				if strings.ContainsAny(name+value, "\r\n\x00") {
					t.Fatalf("%q: %q", name, value)
				}
			}
		}
	})
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(lines, rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "text")
		text = strings.Repeat("x", rapid.IntRange(0, wire.MaxText).Draw(t, "before")) + text
		got := wire.OneLine(text)
		if len(got) > wire.MaxText || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00\u0085") {
			t.Fatalf("%d bytes: %q", len(got), got)
		}
		if wire.OneLine(got) != got {
			t.Fatalf("%q became %q", got, wire.OneLine(got))
		}
	})
	for name, tt := range map[string]struct{ text, want string }{
		"short text stays":            {"no such user: @ä:x", "no such user: @ä:x"},
		"lines become one":            {"a\r\nb\tc", "a  b c"},
		"separators are no lines":     {"a\u2028b\u2029c", "a b c"},
		"marks of direction go":       {"a\u202eb\u2066c\u200fd\u061ce", "abcde"},
		"joiners stay":                {"a\u200db\u200cc", "a\u200db\u200cc"},
		"a character is not cut":      {strings.Repeat("x", wire.MaxText-1) + "ä", strings.Repeat("x", wire.MaxText-1)},
		"broken bytes do not grow":    {strings.Repeat("\xff", wire.MaxText), ""},
		"broken bytes go, text stays": {"a\xff\xfeb", "ab"},
	} {
		if got := wire.OneLine(tt.text); got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
}

func TestFailuresReadAsSentences(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]*wire.Failure{
		"absent":       {Kind: rosterv1.FailureKind_ABSENT},
		"error: oh no": {Kind: rosterv1.FailureKind_ERROR, Text: "oh no"},
		"breaker_open": {Kind: rosterv1.FailureKind_BREAKER_OPEN},
	} {
		if f.Error() != want {
			t.Errorf("got %q, want %q", f.Error(), want)
		}
	}
}

func TestTimeoutThatIsNoPlainNumberIsNotThere(t *testing.T) {
	t.Parallel()
	for _, header := range []string{"", "-1", "-0", "+1", "1.5", "1e3", " 1", "0x10", "1_000", "١", "2147483648", "18446744073709551616"} {
		m := &nats.Msg{Header: nats.Header{wire.HeaderTimeout: {header}}}
		if got := wire.Timeout(m, time.Hour); got != time.Hour {
			t.Errorf("%q: got %v", header, got)
		}
	}
}

func FuzzTimeout(f *testing.F) {
	for _, header := range []string{"", "0", "1", "-1", "2147483647"} {
		f.Add(header, int64(time.Second))
	}
	f.Fuzz(func(t *testing.T, header string, own int64) {
		own = max(own, -own, 0) // The smallest number has no opposite.
		got := wire.Timeout(&nats.Msg{Header: nats.Header{wire.HeaderTimeout: {header}}}, time.Duration(own))
		if got < 0 || got > time.Duration(own) {
			t.Errorf("%q within %v: %v", header, time.Duration(own), got)
		}
	})
}
