package foreign_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"net/url"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/stream"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// TestRegistry pushes images of several MiB to Google's container registry and pulls them: uploads in steps whose
// locations the server makes up, streams of unknown length, HEAD, and layers at the same time.
func TestRegistry(t *testing.T) {
	t.Parallel()
	handler := func(*testing.T) http.Handler {
		return registry.New(registry.Logger(quiet), registry.WithReferrersSupport(true))
	}
	suite[[]string]{path: "/v2", handler: handler, client: pushAndPull}.run(t)
}

func pushAndPull(t *testing.T, base string) (said []string) {
	say := func(a ...any) { said = append(said, fmt.Sprint(a...)) }
	host := must(url.Parse(base))(t).Host
	transport := remote.WithTransport(httpClient(t).Transport)
	ref := must(name.ParseReference(host + "/some/app:1"))(t)
	img := must(random.Image(1<<20, 3, random.WithSource(rand.NewSource(1))))(t)

	say("push: ", remote.Write(ref, img, transport))
	say("push again: ", remote.Write(ref, img, transport))
	head, err := remote.Head(ref, transport)
	say("head: ", head.Digest, head.Size, head.MediaType, err)
	pulled := must(remote.Image(ref, transport))(t)
	say("pull: ", must(pulled.Digest())(t), validate.Image(pulled))

	content := noise(3 << 20)
	layer := stream.NewLayer(io.NopCloser(bytes.NewReader(content)))
	say("stream: ", remote.WriteLayer(ref.Context(), layer, transport))
	back := must(remote.Layer(ref.Context().Digest(must(layer.Digest())(t).String()), transport))(t)
	r := must(back.Uncompressed())(t)
	say("layer: ", bytes.Equal(must(io.ReadAll(r))(t), content), r.Close())

	many := must(random.Index(100<<10, 2, 3, random.WithSource(rand.NewSource(2))))(t)
	say("index: ", remote.WriteIndex(ref.Context().Tag("many"), many, transport))
	say("pull it: ", validate.Index(must(remote.Index(ref.Context().Tag("many"), transport))(t)))
	say(remote.List(ref.Context(), transport))
	say(remote.Catalog(t.Context(), ref.Context().Registry, transport))
	say("delete: ", remote.Delete(ref, transport))
	_, err = remote.Head(ref, transport)
	say("gone: ", bytes.ReplaceAll([]byte(fmt.Sprint(err)), []byte(host), nil))
	return said
}
