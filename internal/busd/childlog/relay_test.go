package childlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

func TestLineBecomesAnEntryInTheLog(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ line, want string }{
		"text":                      {"hello", `{"level":"info","stream":"stdout","message":"hello"}`},
		"CR LF":                     {"hello\r", `{"level":"info","stream":"stdout","message":"hello"}`},
		"a tab before it":           {"\tat main.go:1", `{"level":"info","stream":"stdout","message":"\tat main.go:1"}`},
		"nothing":                   {"", ``},
		"blanks":                    {" \t", ``},
		"not UTF-8":                 {"a\xffb", `{"level":"info","stream":"stdout","message":"a` + "\uFFFD" + `b"}`},
		"an entry":                  {`{"level":"error","message":"m"}`, `{"level":"error","message":"m"}`},
		"its fields, in order":      {`{"z":1e400,"level":"debug","a":{"b":[null]},"message":"m"}`, `{"level":"debug","z":1e400,"a":{"b":[null]},"message":"m"}`},
		"fields that are said here": {`{"level":"warn","time":"t","module":"x","worker":"y","message":"m"}`, `{"level":"warn","message":"m"}`},
		"a fatal entry":             {`{"level":"fatal","message":"m"}`, `{"level":"fatal","message":"m"}`},
		"an entry, not UTF-8":       {"{\"level\":\"info\",\"k\":\"\xff\",\"message\":\"m\"}", `{"level":"info","k":"` + "\uFFFD" + `","message":"m"}`},
		"a name to escape":          {`{"level":"info","a\"\n":1,"message":"m"}`, `{"level":"info","a\"\n":1,"message":"m"}`},
		"no message":                {`{"level":"info"}`, `{"level":"info","stream":"stdout","message":"{\"level\":\"info\"}"}`},
		"no level":                  {`{"message":"m"}`, `{"level":"info","stream":"stdout","message":"{\"message\":\"m\"}"}`},
		"an unknown level":          {`{"level":"7","message":"m"}`, `{"level":"info","stream":"stdout","message":"{\"level\":\"7\",\"message\":\"m\"}"}`},
		"a level of no text":        {`{"level":7,"message":"m"}`, `{"level":"info","stream":"stdout","message":"{\"level\":7,\"message\":\"m\"}"}`},
		"a message of no text":      {`{"level":"info","message":1}`, `{"level":"info","stream":"stdout","message":"{\"level\":\"info\",\"message\":1}"}`},
		"more than an entry":        {`{"level":"info","message":"m"}}`, `{"level":"info","stream":"stdout","message":"{\"level\":\"info\",\"message\":\"m\"}}"}`},
		"less than an entry":        {`{"level":"info","message":"m"`, `{"level":"info","stream":"stdout","message":"{\"level\":\"info\",\"message\":\"m\""}`},
		"an array":                  {`["level"]`, `{"level":"info","stream":"stdout","message":"[\"level\"]"}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, strings.TrimSuffix(logged([]byte(tt.line), false), "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	full := strings.Repeat("x", MaxLine)
	tests := map[string]struct {
		text string
		want []string
	}{
		"none":                {"", []string{""}},
		"one without its end": {"a", []string{"a"}},
		"two":                 {"a\nb\n", []string{"a", "b", ""}},
		"one that just fits":  {full + "\nb", []string{full, "b"}},
		"one that does not":   {full + "x\nb", []string{full + " cut", "b"}},
		"much that does not":  {full + full + full + "\nb", []string{full + " cut", "b"}},
		"it has no end":       {full + full, []string{full + " cut"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			eachLine(strings.NewReader(tt.text), func(line []byte, cut bool) {
				got = append(got, string(line)+map[bool]string{true: " cut"}[cut])
			})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

//nolint:paralleltest // it counts what the process allocates
func TestLineWithoutEndIsNotHeld(t *testing.T) {
	var before, after runtime.MemStats
	lines := 0
	runtime.ReadMemStats(&before)
	eachLine(io.LimitReader(endless{}, 1<<26), func([]byte, bool) { lines++ })
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 || lines != 1 {
		t.Errorf("%d bytes for %d lines", got, lines)
	}
}

func FuzzALineInTheLog(f *testing.F) {
	f.Add([]byte(`{"level":"info","a":[1,{"b":"\ud800"}],"message":"m"}`), false)
	f.Add([]byte("\xff\x00\x1b[31m"), true)
	f.Fuzz(func(t *testing.T, line []byte, cut bool) {
		line = bytes.ReplaceAll(line, []byte("\n"), nil)
		out := logged(line, cut)
		if out == "" {
			return
		}
		if _, ok := parseAny(out); !ok || !utf8.ValidString(out) || strings.Count(out, "\n") != 1 {
			t.Errorf("%q becomes %q", line, out)
		}
	})
}

// logged returns what becomes of a line of a worker's stdout.
func logged(line []byte, cut bool) string {
	var out bytes.Buffer
	r := Relay{Options: Options{Log: zerolog.New(&out), Stream: "stdout", Level: zerolog.InfoLevel}}
	r.take(line, cut)
	return out.String()
}

func parseAny(line string) (map[string]any, bool) {
	var m map[string]any
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	return m, d.Decode(&m) == nil
}

func TestWordsAreTheLastThatExplain(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		lines []string
		want  string
	}{
		"nothing":          {nil, ""},
		"the last line":    {[]string{"Traceback:", "  f()", "ValueError: x"}, "ValueError: x"},
		"a panic":          {[]string{"starting", "panic: boom", "goroutine 1:", "exit status 2"}, "panic: boom"},
		"an error":         {[]string{`{"level":"error","error":"e","message":"m"}`, `{"level":"info","message":"bye"}`}, "m: e"},
		"an error, alone":  {[]string{`{"level":"fatal","message":"m"}`}, "m"},
		"`go run`'s words": {[]string{"x", "exit status 78"}, "x"},
		"too much":         {[]string{strings.Repeat("é", maxWords)}, strings.Repeat("é", maxWords/2)},
		"too much, odd":    {[]string{"x" + strings.Repeat("é", maxWords)}, "x" + strings.Repeat("é", maxWords/2-1)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Relay{Options: Options{Log: zerolog.Nop(), Words: new(Words)}}
			for _, line := range tt.lines {
				r.take([]byte(line), false)
			}
			if got := r.Words.Last(); got != tt.want {
				t.Errorf("got %q; want %q", got, tt.want)
			}
		})
	}
}

func TestRelayReadsUntilTheLastWriterIsGone(t *testing.T) {
	t.Parallel()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	r := Start(in, Options{Log: zerolog.New(&log), Stream: "stderr", Level: zerolog.WarnLevel, Words: new(Words)})
	fmt.Fprint(out, "one\ntwo")
	out.Close()
	r.Settle(time.Minute)
	r.Close(time.Now().Add(time.Minute))
	if got := r.Words.Last(); got != "two" || !strings.Contains(log.String(), `"message":"one"`) {
		t.Errorf("last words %q, log %s", got, &log)
	}
}

func TestRelayClosesAtItsDeadlineThoughSomebodyWrites(t *testing.T) {
	t.Parallel()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	r := Start(in, Options{Log: zerolog.Nop(), Stream: "stdout"})
	r.Settle(0)
	r.Close(time.Now())
	if _, err := out.WriteString("late"); err == nil {
		t.Error("the relay goes on reading")
	}
}
