package tunneltest

import (
	"strings"
	"time"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

func Samples() []frame.Frame {
	return []frame.Frame{
		Browser(),
		&frame.Request{Method: "POST", Target: "/a", ContentLength: 2, Body: []byte("hi")},
		&frame.Response{Status: 200, ContentLength: -1, Body: []byte("x"), Trailers: []frame.Field{{Name: "A", Value: "b"}}},
		&frame.Reset{Code: frame.CodePanic, Status: 502, Retryable: true, Text: "panicked"},
		&frame.Info{Status: 103, Fields: []frame.Field{{Name: "Link", Value: "</a>"}}},
		&frame.End{Offset: 300, Trailers: []frame.Field{{Name: "A", Value: "b"}}},
		&frame.Accept{Credit: 1 << 18},
		&frame.Credit{Offset: 1 << 20},
		&frame.Ping{Answer: true, States: []frame.State{{Token: "a", Credit: 1, Sent: 2}}},
		&frame.Pong{States: []frame.State{{Token: "a", Gone: true}}},
	}
}

// Browser is a request with twelve fields, as browsers send them.
func Browser() *frame.Request {
	return &frame.Request{
		Deadline:   90 * time.Second,
		RemoteAddr: "203.0.113.7:51234",
		Scheme:     "https",
		Method:     "GET",
		Authority:  "matrix.example.org",
		Target:     "/_matrix/client/v3/rooms/%21abc%3Aexample.org/state?a=1;b=2",
		Fields: []frame.Field{
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

func Encode(f frame.Frame) []byte { return frame.Append(nil, f) }
