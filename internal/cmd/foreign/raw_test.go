package foreign_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestRaw says to a connection what clients of all ages say, each case on a connection of its own.
func TestRaw(t *testing.T) {
	t.Parallel()
	const get = "GET " + mount
	rest := func(fields ...string) string {
		return " HTTP/1.1\r\nHost: example.com\r\n" + strings.Join(append(fields, "", ""), "\r\n")
	}
	requests := map[string]string{
		"pipelined":              get + "/1" + rest() + get + "/2" + rest() + "POST " + mount + "/3" + rest("Content-Length: 5") + "hello" + get + "/4" + rest(),
		"HTTP/1.0":               get + "/ HTTP/1.0\r\n\r\n",
		"HTTP/1.0 kept":          get + "/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + get + "/2 HTTP/1.0\r\n\r\n",
		"HTTP/1.0 of no length":  get + "/flushed HTTP/1.0\r\n\r\n",
		"no length":              get + "/flushed" + rest("Connection: close"),
		"HEAD":                   "HEAD " + mount + "/flushed" + rest() + "HEAD " + mount + "/" + rest(),
		"OPTIONS":                "OPTIONS " + mount + "/" + rest(),
		"an absolute target":     "GET http://example.org" + mount + "/a?b" + rest(),
		"an escaped slash":       get + "/a%2Fb%2f..%2Fc" + rest(),
		"slashes":                get + "//a///b//" + rest(),
		"dots":                   get + "/./a/../b/..." + rest(),
		"bytes over 127":         get + "/ä/€?ü=ö" + rest(),
		"escaped nonsense":       get + "/%00%ff%7F%C3%BC" + rest(),
		"what need not be so":    get + "/%41%7E:@!$&'()*+,;=" + rest(),
		"what must not be so":    get + "/%zz" + rest(),
		"semicolons":             get + "/?a=1;b=2&c=%3B&d&=&&e==" + rest(),
		"only a question mark":   get + "/?" + rest(),
		"a fragment":             get + "/a#b" + rest(),
		"a name with port":       get + "/ HTTP/1.1\r\nHost: Example.COM:8448\r\n\r\n",
		"a method of one's own":  "m-Search! " + mount + "/" + rest(),
		"GET with a body":        get + "/" + rest("Content-Length: 5") + "hello",
		"chunks":                 "PUT " + mount + "/" + rest("Transfer-Encoding: chunked", "Trailer: X-Sum") + "5;ext=1\r\nhello\r\n1\r\n!\r\n0\r\nX-Sum: 6\r\n\r\n",
		"an empty field":         get + "/" + rest("X-Empty:", "X-Space:   a  b \t"),
		"fields in odd case":     get + "/" + rest("x-lower: 1", "X-LOWER: 2", "x_under: 3", "X.Dot!#$%&'*+-^`|~: 4"),
		"latin-1":                get + "/" + rest("X-Name: J\xfcrgen"),
		"many fields":            get + "/" + rest(strings.Split(strings.Repeat("X-Many: 1,", 800)+"X-Last: 1", ",")...),
		"many names":             get + "/" + rest(numbered(800)...),
		"a long field":           get + "/" + rest("X-Long: "+strings.Repeat("x", 40_000)),
		"a long target":          get + "/" + strings.Repeat("a/", 15_000) + "?" + strings.Repeat("b&", 5000) + rest(),
		"fields of the hop":      get + "/" + rest("Connection: close, X-Mine", "X-Mine: 1", "Keep-Alive: 5", "Te: gzip"),
		"an unknown upgrade":     get + "/" + rest("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
		"an expectation":         "PUT " + mount + "/" + rest("Expect: 100-continue", "Content-Length: 5") + "hello",
		"one it does not know":   get + "/" + rest("Expect: a miracle"),
		"a body that is refused": "PUT " + mount + "/refuse" + rest("Expect: 100-continue", "Content-Length: 5000000"),
		"early hints":            get + "/hints" + rest(),
		"trailers":               get + "/trailers" + rest("TE: trailers"),
	}
	suite[map[string]string]{handler: below(rawHandler()), client: func(t *testing.T, base string) map[string]string {
		said := map[string]string{}
		for name, text := range requests {
			said[name] = tell(t, base, text)
		}
		return said
	}, excuse: excuseRaw}.run(t)
}

// proxyDiffers are the cases in which the plain proxy is not transparent, and why.
var proxyDiffers = map[string]string{
	"HTTP/1.0":               "it makes up a Host",
	"HTTP/1.0 kept":          "it makes up a Host",
	"a body that is refused": "it asks for the body before it has an answer",
	"an expectation":         "it says 100 Continue twice, the server's and its own",
	"a fragment":             "it writes the target anew",
	"an absolute target":     "it writes the target anew",
	"bytes over 127":         "it writes the target anew",
	"an unknown upgrade":     "fields of the hop stay at the hop, but for those of an upgrade",
	"fields of the hop":      "fields of the hop stay at the hop",
}

// hopFields are what the tunnel leaves out of a request, in the cases that have some: what the specification gives to one
// hop, what Connection names, and h2c, which no hop can pass on.
var hopFields = map[string]string{
	"HTTP/1.0 kept":      `"Connection":["keep-alive"]`,
	"an unknown upgrade": `"Connection":["Upgrade, HTTP2-Settings"],"Http2-Settings":["AAMAAABkAAQAAP__"],"Upgrade":["h2c"]`,
	"fields of the hop":  `"Connection":["close, X-Mine"],"Keep-Alive":["5"],"Te":["gzip"],"X-Mine":["1"]`,
}

func excuseRaw(way string, want, got map[string]string) map[string]string {
	want = maps.Clone(want)
	if way == proxied {
		for name := range proxyDiffers {
			want[name] = got[name]
		}
		return want
	}
	for name, fields := range hopFields {
		want[name] = strings.ReplaceAll(want[name], fields, "")
	}
	return want
}

func numbered(n int) (fields []string) {
	for i := range n {
		fields = append(fields, fmt.Sprintf("X-%d: %d", i, i))
	}
	return fields
}

// tell sends a text, and returns what came, until the connection ends or all is answered.
func tell(t *testing.T, base, text string) (said string) {
	t.Helper()
	c := must(net.Dial("tcp", must(url.Parse(base))(t).Host))(t)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, text)
	r := bufio.NewReader(c)
	methods := methodsOf(text)
	for len(methods) > 0 {
		rsp, err := http.ReadResponse(r, &http.Request{Method: methods[0]})
		if err != nil {
			return said + "end\n"
		}
		if rsp.StatusCode >= 200 {
			methods = methods[1:]
		}
		said += describe(rsp) + "\n"
	}
	return said
}

// methodsOf are those of the requests in a text.
func methodsOf(text string) (methods []string) {
	for r := bufio.NewReader(strings.NewReader(text)); ; {
		req, err := http.ReadRequest(r)
		if err != nil {
			if methods == nil {
				return []string{"GET"}
			}
			return methods
		}
		_, _ = io.Copy(io.Discard, req.Body)
		methods = append(methods, req.Method)
	}
}

func describe(rsp *http.Response) string {
	body, err := io.ReadAll(rsp.Body)
	for _, varies := range []string{"Date", "Content-Length"} {
		rsp.Header.Del(varies)
	}
	return fmt.Sprint(rsp.Status, " ", rsp.Header, rsp.Trailer, digest(body), err)
}

// rawHandler answers with what it sees of a request, or in ways of its own.
func rawHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		switch r.URL.Path {
		case "/flushed":
			_, _ = io.WriteString(w, "one ")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, "two")
		case "/refuse":
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		case "/hints":
			w.Header().Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Set("Link", "</b.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			_, _ = io.WriteString(w, "page")
		case "/trailers":
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = io.WriteString(w, "body")
			w.Header().Set("Grpc-Status", "0")
			w.Header().Set(http.TrailerPrefix+"Grpc-Message", "ok")
		default:
			mirror(w, r)
		}
	})
}

func mirror(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "User-Agent"} {
		r.Header.Del(name) // What a hop adds.
	}
	r.Header.Del("Accept-Encoding")
	_ = r.ParseForm()
	_ = json.NewEncoder(w).Encode([]any{
		r.Method, r.RequestURI, r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.URL.ForceQuery, r.Host, r.ContentLength,
		r.TransferEncoding, r.Form, r.Header, r.Trailer, string(body), err,
	})
}

// TestBothWaysAtOnce has a handler answer each part of a body before the next is sent, and one that reads the body when
// it has answered.
func TestBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	echo := func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		_, _ = io.WriteString(w, "ready")
		_ = rc.Flush()
		buf := make([]byte, 5)
		for {
			n, err := io.ReadFull(r.Body, buf)
			if err != nil {
				return
			}
			_, _ = w.Write(buf[:n])
			_ = rc.Flush()
		}
	}
	suite[[]string]{handler: below(http.HandlerFunc(echo)), client: func(t *testing.T, base string) (said []string) {
		body, in := io.Pipe()
		r := must(http.NewRequest("POST", base, body))(t)
		rsp := must(httpClient(t).Do(r))(t) // Before anything was sent.
		defer rsp.Body.Close()
		buf := make([]byte, 5)
		for i := range 100 {
			_, err := io.ReadFull(rsp.Body, buf)
			said = append(said, fmt.Sprint(string(buf), err))
			fmt.Fprintf(in, "%05d", i)
		}
		in.Close()
		rest, err := io.ReadAll(rsp.Body)
		return append(said, fmt.Sprint(string(rest), err))
	}}.run(t)
}

func TestReadsBehindItsAnswer(t *testing.T) {
	t.Parallel()
	late := func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		_ = rc.EnableFullDuplex()
		_, _ = io.WriteString(w, "early ")
		_ = rc.Flush()
		sum := sha256.New()
		n, err := io.Copy(sum, r.Body)
		fmt.Fprintf(w, "%d %v %x", n, err, sum.Sum(nil))
	}
	suite[reply]{handler: below(http.HandlerFunc(late)), client: func(t *testing.T, base string) reply {
		r := must(http.NewRequest("POST", base, strings.NewReader(string(noise(5<<20)))))(t)
		return exchange(t, httpClient(t), r)
	}}.run(t)
}

// TestClientLeaves has a client go in the middle of a response: the handler's context ends, and so do its writes.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	ended := make(chan string, 1)
	endless := func(w http.ResponseWriter, r *http.Request) {
		var err error
		for err == nil {
			_, err = w.Write(make([]byte, 10_000))
		}
		<-r.Context().Done()
		ended <- fmt.Sprint(r.Context().Err())
	}
	suite[string]{handler: below(http.HandlerFunc(endless)), client: func(t *testing.T, base string) string {
		rsp := must(httpClient(t).Get(base))(t)
		_, _ = io.CopyN(io.Discard, rsp.Body, 1<<20)
		rsp.Body.Close()
		select {
		case said := <-ended:
			return said
		case <-time.After(patience):
			return "the handler never knew"
		}
	}}.run(t)
}
