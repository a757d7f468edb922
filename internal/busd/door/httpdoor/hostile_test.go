package httpdoor_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/door/doortest"
)

// TestSmuggledRequestsAreRefused has requests whose end, or whose header, two servers could see in different places. Each carries
// a second request, which must not be answered.
func TestSmuggledRequestsAreRefused(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	const hidden = "GET /_modulebus/v1/modules HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, header := range map[string]string{
		"two lengths":             "Content-Length: 0\r\nContent-Length: 50\r\n",
		"two lengths in one":      "Content-Length: 0, 50\r\n",
		"a signed length":         "Content-Length: +0\r\n",
		"an unknown coding":       "Transfer-Encoding: xchunked\r\n",
		"chunked twice":           "Transfer-Encoding: chunked, chunked\r\n",
		"a space before a colon":  "Content-Length : 0\r\n",
		"a folded field":          "X-A: b\r\n Content-Length: 0\r\nContent-Length: x\r\n",
		"a zero byte":             "X-A: b\x00c\r\n",
		"a carriage return alone": "X-A: b\rContent-Length: 0\r\n",
		"a name with a space":     "X A: b\r\n",
		"two hosts":               "Host: y\r\n",
		"a negative length":       "Content-Length: -1\r\n",
		"a length in hexadecimal": "Content-Length: 0x10\r\n",
		"a length with a line":    "Content-Length: 1_0\r\n",
		"a length with a space":   "Content-Length: 1 0\r\n",
		"an empty length":         "Content-Length: \r\n",
		"a length of 20 digits":   "Content-Length: 99999999999999999999\r\n",
		"two codings":             "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
		"no coding":               "Transfer-Encoding: identity\r\n",
		"a coding before chunked": "Transfer-Encoding: gzip, chunked\r\n",
		"chunked with a word":     "Transfer-Encoding: chunked;x=y\r\n",
		"chunked in quotes":       "Transfer-Encoding: \"chunked\"\r\n",
		"chunked after a VT":      "Transfer-Encoding: \x0bchunked\r\n",
		"a space at the start":    " X-A: b\r\n",
		"no colon":                "X-A\r\n",
		"no name":                 ": b\r\n",
		"a name with a 1":         "X-\x01: b\r\n",
		"a name beyond ASCII":     "X-\xe9: b\r\n",
		"what is not expected":    "Expect: 200-ok\r\n",
	} {
		out := d.Raw("POST " + doortest.CreatePath + " HTTP/1.1\r\nHost: x\r\n" + header + "\r\n" + hidden)
		if !strings.HasPrefix(out, "HTTP/1.1 4") && !strings.HasPrefix(out, "HTTP/1.1 501 ") || strings.Contains(out, "roster_revision") {
			t.Errorf("%s: %.300q", name, out)
		}
	}
	if n := len(d.Asked); n != 0 {
		t.Errorf("the module was asked %d times", n)
	}
}

// TestLengthBesideChunksCountsForNothing has both, as RFC 9112 (6.3) describes: chunks count, and the connection is not used again.
func TestLengthBesideChunksCountsForNothing(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	body := doortest.User("evil")
	out := d.Raw(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
		doortest.CreatePath, len(body), body))
	if !strings.HasPrefix(out, "HTTP/1.1 400 ") && strings.Count(out, "HTTP/1.1 ") != 1 {
		t.Errorf("got %q", out)
	}
}

// TestHeaderThatIsTooLargeIsRefused has an endless one.
func TestHeaderThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	rsp, _ := d.Do("POST", doortest.CreatePath, doortest.User("good"), "X-Large", strings.Repeat("x", 2<<20))
	if rsp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("answered %s", rsp.Status)
	}
}

// TestNamesInPathsAreNoSubjects has names of callbacks that would be other subjects on NATS, or other headers of an answer.
func TestNamesInPathsAreNoSubjects(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	for _, name := range []string{"%3E", "*", "user_may_create_room.gate", "a%0d%0aX-Injected:%201", "%00", "a%20b", strings.Repeat("x", 10_000)} {
		rsp, out := d.Do("POST", "/_modulebus/v1/ask/spam_checker/"+name, doortest.User("good"))
		doortest.Wants(t, rsp, out, 404, "M_UNRECOGNIZED")
		if rsp.Header.Get("X-Injected") != "" {
			t.Errorf("%s adds to the header", name)
		}
	}
	if n := len(d.Asked); n != 0 {
		t.Errorf("the module was asked %d times", n)
	}
}

// TestIdleConnectionsDoNotKeepOthersOut has thousands of clients that connect and say nothing.
func TestIdleConnectionsDoNotKeepOthersOut(t *testing.T) {
	t.Parallel()
	d := doortest.New(t).Serve(config.HTTP{})
	d.Life.Begin()
	const clients = 2000 // Of 10,000, most of what this process may open would be the clients' ends.
	for range clients {
		c, err := net.Dial("tcp", d.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if rsp, out := d.Do("POST", doortest.CreatePath, doortest.User("evil")); rsp.StatusCode != 200 || !strings.Contains(string(out), "M_FORBIDDEN") {
		t.Errorf("%s %s", rsp.Status, out)
	}
}
