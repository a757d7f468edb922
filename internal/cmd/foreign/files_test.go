package foreign_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/klauspost/compress/gzhttp"
)

// reply is what a client can tell of a response.
type reply struct {
	Status  int
	Header  http.Header
	Trailer http.Header
	Length  int64
	Body    string // what it says, in brief
}

// exchange sends a request and reads the response.
func exchange(t *testing.T, c *http.Client, r *http.Request) reply {
	t.Helper()
	rsp := must(c.Do(r))(t)
	defer rsp.Body.Close()
	return replyOf(t, rsp)
}

func replyOf(t *testing.T, rsp *http.Response) reply {
	t.Helper()
	body := must(io.ReadAll(rsp.Body))(t)
	for _, varies := range []string{"Date", "Content-Length", "Connection"} { // The length is there; the connection is the hop's.
		rsp.Header.Del(varies)
	}
	return reply{rsp.StatusCode, rsp.Header, rsp.Trailer, rsp.ContentLength, digest(body)}
}

// digest is short, and says all.
func digest(p []byte) string {
	if len(p) > 1000 {
		return fmt.Sprintf("%d bytes: %x", len(p), sha256.Sum256(p))
	}
	return string(p)
}

// knownLength excuses the tunnel where it states the length of what net/http sends in chunks: a response of up to 32 KiB
// is one message there, so its length is known.
func knownLength(way string, want, got []reply) []reply {
	want = slices.Clone(want)
	for i := range min(len(want), len(got)) {
		if way == tunneled && want[i].Length < 0 && got[i].Length >= 0 && got[i].Length <= 32<<10 {
			want[i].Length = got[i].Length
		}
	}
	return want
}

// TestFiles asks http.FileServer for parts of files, conditionally and not, as download managers and players do.
func TestFiles(t *testing.T) {
	t.Parallel()
	epoch := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	files := fstest.MapFS{
		"index.html":      {Data: []byte("<!DOCTYPE html>hello"), ModTime: epoch},
		"big.bin":         {Data: noise(1 << 20), ModTime: epoch},
		"empty":           {ModTime: epoch},
		"dir/a b;c=ü%.md": {Data: []byte("# x"), ModTime: epoch},
	}
	suite[[]reply]{
		handler: below(http.FileServerFS(files)), client: askForFiles, excuse: knownLength,
	}.run(t)
}

func askForFiles(t *testing.T, base string) (got []reply) {
	c := httpClient(t)
	ask := func(method, path string, fields ...string) {
		r := must(http.NewRequest(method, base+path, nil))(t)
		for i := 0; i < len(fields); i += 2 {
			r.Header.Add(fields[i], fields[i+1])
		}
		got = append(got, exchange(t, c, r))
	}
	const when, later, earlier = "Thu, 02 Jan 2020 03:04:05 GMT", "Fri, 03 Jan 2020 03:04:05 GMT", "Wed, 01 Jan 2020 03:04:05 GMT"
	for _, method := range []string{"GET", "HEAD"} {
		for _, path := range []string{"/", "/index.html", "/big.bin", "/empty", "/dir", "/dir/", "/dir/a%20b;c=%C3%BC%25.md", "/none", "/../x"} {
			ask(method, path)
		}
		for _, part := range []string{"0-0", "0-", "300000-700000", "-1", "-4000000", "1048575-", "1048576-", "5-2", "x", ""} {
			ask(method, "/big.bin", "Range", "bytes="+part)
			ask(method, "/empty", "Range", "bytes="+part)
		}
		for _, name := range []string{"If-Modified-Since", "If-Unmodified-Since"} {
			for _, at := range []string{when, later, earlier, "yesterday"} {
				ask(method, "/big.bin", name, at)
				ask(method, "/big.bin", name, at, "Range", "bytes=1-2")
			}
		}
		ask(method, "/big.bin", "If-Range", when, "Range", "bytes=100-200000")
		ask(method, "/big.bin", "If-Range", later, "Range", "bytes=100-200000")
		ask(method, "/big.bin", "If-None-Match", "*")
	}
	return got
}

// TestFileInParts asks for many parts of a file at once, which come as a multipart message.
func TestFileInParts(t *testing.T) {
	t.Parallel()
	big := noise(3 << 20)
	files := fstest.MapFS{"big.bin": {Data: big, ModTime: time.Unix(1, 0)}}
	suite[[]string]{handler: below(http.FileServerFS(files)), client: func(t *testing.T, base string) (said []string) {
		r := must(http.NewRequest("GET", base+"/big.bin", nil))(t)
		r.Header.Set("Range", "bytes=0-9,1000000-2000000,-100000,5-5")
		rsp := must(httpClient(t).Do(r))(t)
		defer rsp.Body.Close()
		_, params, err := mime.ParseMediaType(rsp.Header.Get("Content-Type"))
		said = append(said, fmt.Sprint(rsp.Status, rsp.ContentLength, err))
		for parts := multipart.NewReader(rsp.Body, params["boundary"]); ; {
			part, err := parts.NextRawPart()
			if err != nil {
				return append(said, err.Error())
			}
			said = append(said, fmt.Sprint(part.Header), digest(must(io.ReadAll(part))(t)))
		}
	}}.run(t)
}

// TestResume goes on with a download that breaks off again and again, as curl does with --continue-at.
func TestResume(t *testing.T) {
	t.Parallel()
	big := noise(3 << 20)
	files := http.FileServerFS(fstest.MapFS{"big.bin": {Data: big, ModTime: time.Unix(1, 0)}})
	cut := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { files.ServeHTTP(&cutter{w, 1 << 20}, r) })
	suite[bool]{handler: below(cut), client: func(t *testing.T, base string) bool {
		c := httpClient(t)
		var got []byte
		for range 50 {
			r := must(http.NewRequest("GET", base+"/big.bin", nil))(t)
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-", len(got)))
			rsp := must(c.Do(r))(t)
			part, err := io.ReadAll(rsp.Body)
			rsp.Body.Close()
			got = append(got, part...)
			if err == nil && rsp.StatusCode == http.StatusPartialContent {
				break // Only what was whole looks whole.
			}
		}
		if !bytes.Equal(got, big) {
			t.Errorf("got %d other bytes", len(got))
		}
		return true
	}}.run(t)
}

// cutter breaks off after so many bytes.
type cutter struct {
	http.ResponseWriter

	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// TestCompressing puts klauspost's gzhttp around a handler, and has its client, and net/http's own, undo it.
func TestCompressing(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("ETag", `"x"`)
		for range len(r.URL.RawQuery) {
			_, _ = io.WriteString(w, strings.Repeat("compressible ", 3000))
			_ = http.NewResponseController(w).Flush()
		}
	})
	suite[[]reply]{handler: below(gzhttp.GzipHandler(page)), excuse: knownLength, client: func(t *testing.T, base string) (got []reply) {
		plain := httpClient(t)
		own := httpClient(t)
		own.Transport.(*http.Transport).DisableCompression = false
		theirs := &http.Client{Transport: gzhttp.Transport(plain.Transport, gzhttp.TransportEnableZstd(true))}
		for _, c := range []*http.Client{plain, own, theirs} {
			for _, q := range []string{"", "x", "xxxxxxxxxxxxxxxxxxxxxxxx"} {
				got = append(got, exchange(t, c, must(http.NewRequest("GET", base+"/?"+q, nil))(t)))
				got = append(got, exchange(t, c, must(http.NewRequest("HEAD", base+"/?"+q, nil))(t)))
			}
		}
		return got
	}}.run(t)
}

// TestForm uploads hundreds of files in one form, compressed, of unknown length.
func TestForm(t *testing.T) {
	t.Parallel()
	suite[reply]{handler: below(http.HandlerFunc(takeForm)), client: func(t *testing.T, base string) reply {
		body, w := io.Pipe()
		squeezed := gzip.NewWriter(w)
		form := multipart.NewWriter(squeezed)
		go func() {
			for i := range 300 {
				_ = form.WriteField(fmt.Sprint("field ", i), strings.Repeat("é", i))
				part, _ := form.CreateFormFile("file", fmt.Sprintf("ü %d\".bin", i))
				_, _ = part.Write(noise(i * 20))
			}
			_, _ = form.Close(), squeezed.Close()
			w.Close()
		}()
		r := must(http.NewRequest("POST", base, body))(t)
		r.Header.Set("Content-Type", form.FormDataContentType())
		r.Header.Set("Content-Encoding", "gzip")
		return exchange(t, httpClient(t), r)
	}}.run(t)
}

func takeForm(w http.ResponseWriter, r *http.Request) {
	plain, err := gzip.NewReader(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.Body = plain
	if err := r.ParseMultipartForm(1 << 20); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	sum := sha256.New()
	for i := range 300 {
		_, _ = io.WriteString(sum, r.FormValue(fmt.Sprint("field ", i)))
	}
	for _, h := range r.MultipartForm.File["file"] {
		f, _ := h.Open()
		fmt.Fprint(sum, h.Filename, h.Size)
		_, _ = io.Copy(sum, f)
		f.Close()
	}
	fmt.Fprintf(w, "%d files, %x", len(r.MultipartForm.File["file"]), sum.Sum(nil))
}
