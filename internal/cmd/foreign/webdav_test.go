package foreign_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/studio-b12/gowebdav"
	"golang.org/x/net/webdav"
)

// TestWebDAV has x/net's handler, which knows its prefix, and studio-b12's client: PROPFIND, MKCOL, COPY, MOVE with a
// Destination, uploads with and without a length, parts of files.
func TestWebDAV(t *testing.T) {
	t.Parallel()
	suite[[]string]{handler: davHandler, client: davTour}.run(t)
}

func davHandler(*testing.T) http.Handler {
	return &webdav.Handler{Prefix: mount, FileSystem: webdav.NewMemFS(), LockSystem: webdav.NewMemLS()}
}

// noise is the same random bytes for the same size.
func noise(size int) []byte {
	p := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(p)
	return p
}

func davTour(t *testing.T, base string) (said []string) {
	c := gowebdav.NewClient(base, "", "")
	c.SetTransport(httpClient(t).Transport)
	say := func(format string, a ...any) { said = append(said, fmt.Sprintf(format, a...)) }
	big := noise(5 << 20)
	say("mkdir: %v, again: %v", c.MkdirAll("/a b/ü%2F#?", 0), c.Mkdir("/a b", 0))
	say("write: %v", c.Write("/a b/small;x=1", []byte("hello"), 0))
	say("stream: %v", c.WriteStream("/a b/big", bytes.NewReader(big), 0))
	say("stream with length: %v", c.WriteStreamWithLength("/a b/big2", bytes.NewReader(big), int64(len(big)), 0))
	got, err := c.Read("/a b/big")
	say("read: %v %v", bytes.Equal(got, big), err)
	part := must(c.ReadStreamRange("/a b/big", 1<<20, 100_000))(t)
	got, err = io.ReadAll(part)
	say("part: %v %v %v", bytes.Equal(got, big[1<<20:1<<20+100_000]), err, part.Close())
	say("copy: %v", c.Copy("/a b/big", "/a b/ü%2F#?/copied", true))
	say("move: %v", c.Rename("/a b/small;x=1", "/a b/moved", false))
	say("move onto: %v", c.Rename("/a b/big2", "/a b/moved", false))
	for _, dir := range []string{"/", "/a b", "/a b/ü%2F#?"} {
		list, err := c.ReadDir(dir)
		say("list: %v", err)
		slices.SortFunc(list, func(a, b os.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
		for _, f := range list {
			say("%s %d %v", f.Name(), f.Size(), f.IsDir())
		}
	}
	say("remove: %v", c.RemoveAll("/a b"))
	_, err = c.Stat("/a b")
	say("stat: %v", err)
	return said
}

// TestWebDAVLocks goes through the methods that the client has no words for.
func TestWebDAVLocks(t *testing.T) {
	t.Parallel()
	suite[[]string]{handler: davHandler, client: davLocks}.run(t)
}

func davLocks(t *testing.T, base string) (said []string) {
	const info = `<?xml version="1.0"?><lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope><locktype><write/></locktype></lockinfo>`
	const patch = `<?xml version="1.0"?><propertyupdate xmlns="DAV:"><set><prop><x xmlns="y:">z</x></prop></set></propertyupdate>`
	c := httpClient(t)
	do := func(method, path, body string, fields ...string) http.Header {
		r := must(http.NewRequest(method, base+path, strings.NewReader(body)))(t)
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		rsp := must(c.Do(r))(t)
		defer rsp.Body.Close()
		text := must(io.ReadAll(rsp.Body))(t)
		said = append(said, fmt.Sprint(method, " ", rsp.Status, " ", rsp.Header["Allow"], rsp.Header["Dav"], elements(text)))
		return rsp.Header
	}
	do("OPTIONS", "/", "")
	do("PUT", "/f", "one")
	token := strings.Trim(do("LOCK", "/f", info, "Timeout", "Second-600", "Depth", "0").Get("Lock-Token"), "<>")
	do("PUT", "/f", "two")
	do("PUT", "/f", "three", "If", "(<"+token+">)")
	do("LOCK", "/f", "", "If", "(<"+token+">)", "Timeout", "Second-60")
	do("PROPPATCH", "/f", patch, "If", "(<"+token+">)")
	do("PROPFIND", "/", "", "Depth", "1")
	do("UNLOCK", "/f", "", "Lock-Token", "<"+token+">")
	do("MOVE", "/f", "", "Destination", base+"/g", "Overwrite", "F")
	do("MOVE", "/g", "", "Destination", "http://elsewhere.example/g")
	do("GET", "/g", "")
	do("DELETE", "/g", "")
	return said
}

// davVaries is what differs from run to run: times, entity tags that are made of them, and lock tokens.
var davVaries = regexp.MustCompile(`[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]+ GMT|"[0-9a-f]{12,}"|\d{10,}`)

// elements are those of a document, without order: the handler goes through a map.
func elements(document []byte) []string {
	list := strings.Split(davVaries.ReplaceAllString(string(document), "…"), "<")
	slices.Sort(list)
	return list
}
