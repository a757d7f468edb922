package cli

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// TestTerminalObeysNothingThatIsPrinted has records with characters that clear a terminal, and turn text around.
func TestTerminalObeysNothingThatIsPrinted(t *testing.T) {
	t.Parallel()
	const record = `{"id":"d-1","callback":"a.b","outcome":"refused","decided_by":"g` + "\u202e" + `ate\u001b[2J","request":{"name":"` + "\u202e\u009b" + `"},` +
		`"modules":[{"module":"gate","said":"refusal","errcode":"M_` + "\u2066" + `"}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/stream") {
			_, _ = io.WriteString(w, "event: record\ndata: "+record+"\n\n")
			return
		}
		_, _ = io.WriteString(w, record)
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "records")
	if err := os.WriteFile(file, []byte(record), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := write(t, "server_name: a\nmodules: [{module: gate}]\n")
	for _, command := range [][]string{
		{"explain", "d-1", "--url", server.URL},
		{"tail", "--since", "1h", "--url", server.URL},
		{"tail", "--since", "1h", "--json", "--url", server.URL},
		{"replay", "--file", file, "-c", conf},
		{"modules", "--url", "http://\u202e"},
	} {
		got := run(t, command...)
		if text := got.out + got.errors; strings.ContainsFunc(text, obeyed) {
			t.Errorf("%s prints %q", command, text)
		}
		if got.out == "" && got.errors == "" {
			t.Errorf("%s prints nothing", command)
		}
	}
	var was, is any
	if json.Unmarshal([]byte(record), &was) != nil || json.Unmarshal([]byte(run(t, "tail", "--since", "1h", "--json", "--url", server.URL).out), &is) != nil {
		t.Fatal("no JSON")
	}
	if name := is.(map[string]any)["decided_by"]; name != was.(map[string]any)["decided_by"] {
		t.Errorf("JSON has another value: %q", name)
	}
}

// TestCommandFollowsNoRedirect has an address that sends on to another one, which must get neither the token nor the request.
func TestCommandFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s %s was sent on", r.Method, r.URL) }))
	t.Cleanup(thief.Close)
	server := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	for _, command := range [][]string{{"modules"}, {"ask", "user_may_create_room", "{}"}, {"tail"}, {"restart", "gate"}} {
		run(t, append(command, "--url", server.URL)...).wants(t, 1, nil, []string{"sends on to " + thief.URL, "--url"})
	}
}

func TestServeWantsTheFilesThatCheckWants(t *testing.T) {
	t.Parallel()
	file := write(t, `server_name: example.com
nats: {listen: "127.0.0.1:0"}
http: {listen: "127.0.0.1:0", token_file: none.token}
homeserver: {url: "http://127.0.0.1:1", token_file: none.api}
`)
	want := []string{file + ":3:43: http.token_file: cannot read ", file + ":4:53: homeserver.token_file: cannot read "}
	run(t, "check", "-c", file).wants(t, 2, nil, want)
	run(t, "serve", "-c", file).wants(t, 1, nil, want)
}

// TestLibrariesWriteIntoTheLog is not parallel: the standard library has one logger.
func TestLibrariesWriteIntoTheLog(t *testing.T) { //nolint:paralleltest // As above.
	var out strings.Builder
	undo := standardLog(zerolog.New(&out))
	log.Print("Unsolicited response received on idle HTTP channel")
	undo()
	if want := `{"level":"warn","from":"go","message":"Unsolicited response received on idle HTTP channel"}` + "\n"; out.String() != want {
		t.Errorf("got %s", out.String())
	}
}
