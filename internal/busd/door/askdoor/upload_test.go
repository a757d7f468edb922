package askdoor_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/busd/door/doortest"
)

// upload is a question with a file.
func upload(t *testing.T, question, file string) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, part := range []struct{ name, text string }{{"request", question}, {"file", file}} {
		if part.text == "" {
			continue
		}
		p, err := w.CreateFormFile(part.name, part.name)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(p, part.text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

func TestAskWithAFile(t *testing.T) {
	t.Parallel()
	d := doortest.Begun(t)
	kind, body := upload(t, string(doortest.User("evil")), "file")
	if rsp, out := d.Do("POST", doortest.CreatePath, body, "Content-Type", kind); rsp.StatusCode != 200 || !strings.Contains(string(out), "M_FORBIDDEN") {
		t.Errorf("%s %s", rsp.Status, out)
	}
	kind, body = upload(t, string(doortest.User("evil")), "")
	rsp, out := d.Do("POST", doortest.CreatePath, body, "Content-Type", kind)
	doortest.Wants(t, rsp, out, 400, "M_BAD_JSON")
	kind, body = upload(t, "", "file")
	rsp, out = d.Do("POST", doortest.CreatePath, body, "Content-Type", kind)
	doortest.Wants(t, rsp, out, 400, "M_BAD_JSON")
	kind, body = upload(t, strings.Repeat(" ", 1<<20+1), "file")
	rsp, out = d.Do("POST", doortest.CreatePath, body, "Content-Type", kind)
	doortest.Wants(t, rsp, out, 413, "M_TOO_LARGE")
	rsp, out = d.Do("POST", doortest.CreatePath, body, "Content-Type", "multipart/form-data")
	doortest.Wants(t, rsp, out, 400, "M_BAD_JSON")
}
