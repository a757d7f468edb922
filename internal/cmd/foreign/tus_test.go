package foreign_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tus/tusd/v2/pkg/filestore"
	tusd "github.com/tus/tusd/v2/pkg/handler"
	"github.com/tus/tusd/v2/pkg/memorylocker"
	"golang.org/x/exp/slog"
)

const uploads = mount + "/files/"

// TestTus uploads in pieces to tusd, with connections that break in the middle of them: what came through is kept, so
// that the client asks how much that is, and goes on from there.
func TestTus(t *testing.T) {
	t.Parallel()
	suite[[]string]{handler: tusServer, client: uploadInPieces}.run(t)
}

func tusServer(t *testing.T) http.Handler {
	composer := tusd.NewStoreComposer()
	filestore.New(t.TempDir()).UseIn(composer)
	memorylocker.New().UseIn(composer)
	h := must(tusd.NewHandler(tusd.Config{
		BasePath: uploads, StoreComposer: composer, RespectForwardedHeaders: true, EnableExperimentalProtocol: true,
		GracefulRequestCompletionTimeout: time.Nanosecond, // else goroutines of its outlive the test
		Logger:                           slog.New(slog.NewTextHandler(io.Discard, nil)),
	}))(t)
	return http.StripPrefix(uploads, oneByOne(h))
}

// oneByOne answers requests one after the other, and lets the handler know only from its body that the client has left:
// tusd v2.9.1 has a data race where an upload is stopped from beside it.
func oneByOne(h http.Handler) http.Handler {
	var mu sync.Mutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
		defer cancel()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

// tus is a client of the protocol of that name.
type tus struct {
	t    *testing.T
	http *http.Client
	base string
	said []string
}

func (c *tus) say(a ...any) { c.said = append(c.said, fmt.Sprint(a...)) }

func (c *tus) do(method, url string, body io.Reader, fields ...string) *http.Response {
	c.t.Helper()
	return must(c.try(method, url, body, fields...))(c.t)
}

func (c *tus) try(method, url string, body io.Reader, fields ...string) (*http.Response, error) {
	c.t.Helper()
	r := must(http.NewRequest(method, url, body))(c.t)
	r.Header.Set("Tus-Resumable", "1.0.0")
	if method == "PATCH" {
		r.Header.Set("Content-Type", "application/offset+octet-stream")
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	rsp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer rsp.Body.Close()
	rsp.Body = io.NopCloser(bytes.NewReader(must(io.ReadAll(rsp.Body))(c.t)))
	return rsp, nil
}

func (c *tus) create(fields ...string) (url string) {
	c.t.Helper()
	rsp := c.do("POST", c.base+"/files/", nil, fields...)
	url = rsp.Header.Get("Location")
	c.say("created ", rsp.Status, strings.HasPrefix(url, c.base+"/files/"))
	return url
}

var errOffline = errors.New("offline")

func uploadInPieces(t *testing.T, base string) []string {
	c := &tus{t: t, http: httpClient(t), base: base}
	big := noise(5 << 20)
	options := c.do("OPTIONS", base+"/files/", nil)
	c.say(options.Status, options.Header["Tus-Extension"], options.Header["Tus-Version"])
	url := c.create("Upload-Length", strconv.Itoa(len(big)), "Upload-Metadata", "filename "+base64.StdEncoding.EncodeToString([]byte("ü.bin")))
	for _, until := range []int{1 << 20, 3 << 20, 1} {
		c.say("broken: ", errors.Is(c.goOn(url, big, until), errOffline))
	}
	// What was sent on the broken connections may arrive behind the question of how much has: then the server refuses.
	for tries := 0; tries < 50 && c.goOn(url, big, len(big)) != nil; tries++ {
	}
	c.say("offset ", c.offset(url))
	got := c.do("GET", url, nil)
	c.say(got.Status, got.Header["Content-Disposition"], bytes.Equal(must(io.ReadAll(got.Body))(t), big))
	c.say(c.do("PATCH", url, strings.NewReader("x"), "Upload-Offset", "3").Status)
	c.say(c.do("DELETE", url, nil).Status, c.do("HEAD", url, nil).Status)
	joined(c)
	return c.said
}

// goOn sends from where the server is, and is cut off after that much of all, unless it is all.
func (c *tus) goOn(url string, all []byte, until int) error {
	at := c.offset(url)
	var body io.Reader = bytes.NewReader(all[at:])
	if until < len(all) {
		body = io.MultiReader(bytes.NewReader(all[at:max(at, until)]), failing{})
	}
	rsp, err := c.try("PATCH", url, body, "Upload-Offset", strconv.Itoa(at))
	if err == nil && rsp.StatusCode != http.StatusNoContent {
		err = errors.New(rsp.Status)
	}
	return err
}

func (c *tus) offset(url string) (at int) {
	c.t.Helper()
	rsp := c.do("HEAD", url, nil)
	if _, err := fmt.Sscan(rsp.Header.Get("Upload-Offset"), &at); err != nil {
		c.t.Fatal(rsp.Status, err)
	}
	return at
}

// failing ends as a body does whose client has lost its network.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errOffline }

// joined uploads parts that the server puts together, of a length that is said late.
func joined(c *tus) {
	first := c.create("Upload-Concat", "partial", "Upload-Length", "3")
	second := c.create("Upload-Concat", "partial", "Upload-Defer-Length", "1")
	c.say(c.do("PATCH", first, strings.NewReader("abc"), "Upload-Offset", "0").Status)
	c.say(c.do("PATCH", second, strings.NewReader("def"), "Upload-Offset", "0", "Upload-Length", "3").Status)
	whole := c.create("Upload-Concat", "final;"+first+" "+second)
	c.say(string(must(io.ReadAll(c.do("GET", whole, nil).Body))(c.t)))
}

// TestResumableUploads is what became of it at the IETF: 104 says where to go on before the body is there.
func TestResumableUploads(t *testing.T) {
	t.Parallel()
	suite[[]string]{handler: tusServer, client: func(t *testing.T, base string) (said []string) {
		c := httpClient(t)
		big := noise(2 << 20)
		r := must(http.NewRequest("POST", base+"/files/", bytes.NewReader(big)))(t)
		r.Header.Set("Upload-Draft-Interop-Version", "6")
		r.Header.Set("Upload-Complete", "?1")
		told := ""
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			told = h.Get("Location")
			said = append(said, fmt.Sprint(code, h["Upload-Draft-Interop-Version"]))
			return nil
		}}
		rsp := must(c.Do(r.WithContext(httptrace.WithClientTrace(t.Context(), trace))))(t)
		rsp.Body.Close()
		said = append(said, fmt.Sprint(rsp.Status, rsp.Header.Get("Location") == told, rsp.Header["Upload-Offset"]))
		got := must(c.Get(told))(t)
		defer got.Body.Close()
		return append(said, fmt.Sprint(got.Status, bytes.Equal(must(io.ReadAll(got.Body))(t), big)))
	}}.run(t)
}
