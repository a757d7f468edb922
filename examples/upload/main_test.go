package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/modulebus/modulebus/modulekit/modulekittest"
)

func ask(t *testing.T, method string, body io.Reader) *httptest.ResponseRecorder {
	t.Helper()
	hs := modulekittest.Start(t, module, "{}")
	rsp := httptest.NewRecorder()
	hs.Web.ServeHTTP(rsp, httptest.NewRequest(method, path, body))
	return rsp
}

func TestPage(t *testing.T) {
	t.Parallel()
	rsp := ask(t, "GET", nil)
	if rsp.Code != http.StatusOK || !strings.HasPrefix(rsp.Body.String(), "<!doctype html>") {
		t.Errorf("%d %s", rsp.Code, rsp.Body)
	}
}

func TestDigest(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 3 << 20} {
		file := bytes.Repeat([]byte{7}, size)
		sum := sha256.Sum256(file)
		rsp := ask(t, "POST", iotest.HalfReader(bytes.NewReader(file)))
		var got received
		err := json.Unmarshal(rsp.Body.Bytes(), &got)
		if want := (received{int64(size), hex.EncodeToString(sum[:])}); err != nil || got != want {
			t.Errorf("%d bytes: %+v, %v; want %+v", size, got, err, want)
		}
	}
}

// Half a file has no digest.
func TestUploadThatBreaksOff(t *testing.T) {
	t.Parallel()
	for _, err := range []error{io.ErrUnexpectedEOF, errors.New("reset")} {
		rsp := ask(t, "POST", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(err)))
		if rsp.Code != http.StatusBadRequest || strings.Contains(rsp.Body.String(), "sha256") {
			t.Errorf("%v: %d %s", err, rsp.Code, rsp.Body)
		}
	}
}
