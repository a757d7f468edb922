package door_test

import (
	"bytes"
	"io"
	"mime/multipart"
	"strings"
	"testing"
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
	d := begun(t)
	kind, body := upload(t, string(user("evil")), "file")
	if rsp, out := d.do("POST", createPath, body, "Content-Type", kind); rsp.StatusCode != 200 || !strings.Contains(string(out), "M_FORBIDDEN") {
		t.Errorf("%s %s", rsp.Status, out)
	}
	kind, body = upload(t, string(user("evil")), "")
	rsp, out := d.do("POST", createPath, body, "Content-Type", kind)
	wants(t, rsp, out, 400, "M_BAD_JSON")
	kind, body = upload(t, "", "file")
	rsp, out = d.do("POST", createPath, body, "Content-Type", kind)
	wants(t, rsp, out, 400, "M_BAD_JSON")
	kind, body = upload(t, strings.Repeat(" ", 1<<20+1), "file")
	rsp, out = d.do("POST", createPath, body, "Content-Type", kind)
	wants(t, rsp, out, 413, "M_TOO_LARGE")
	rsp, out = d.do("POST", createPath, body, "Content-Type", "multipart/form-data")
	wants(t, rsp, out, 400, "M_BAD_JSON")
}
