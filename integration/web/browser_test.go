//go:build integration

package web_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestBrowser opens the pages of examples/web.yaml in a real browser. All is as the file says, but that the modules are
// built beforehand, and that ports are free ones. What the pages must do is in browser/pages.mjs.
func TestBrowser(t *testing.T) {
	t.Parallel()
	modules := []string{"upload", "echo", "clock"}

	ports := []string{"127.0.0.1:4222", "127.0.0.1:0", "127.0.0.1:8010", "127.0.0.1:0"}
	programs := []string{}
	for _, module := range modules {
		folder := "examples/" + module
		programs = append(programs, "[go, run, ./"+folder+"]", "["+testbed.Program(t, folder)+"]")
	}
	example, err := os.ReadFile(filepath.Join(testbed.Root, "examples/web.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer(append(ports, programs...)...).Replace(string(example))
	d := testbed.Serve(t, config)
	for _, module := range modules {
		untilServed(t, d.URL+"/_synapse/client/"+module)
	}

	browse(t, "browser/pages.mjs", 3, "URL="+d.URL)
}

// untilServed waits for a page, as a homeserver that has just started does for modules.
func untilServed(t *testing.T, page string) {
	t.Helper()
	for {
		rsp, err := http.Get(page)
		if err != nil {
			t.Fatal(err)
		}
		rsp.Body.Close()
		if rsp.StatusCode == http.StatusOK {
			return
		}
		testbed.Pause(t)
	}
}
