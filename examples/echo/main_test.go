package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"github.com/modulebus/modulebus/modulekit/modulekittest"
)

func serve(t *testing.T) (url string) {
	t.Helper()
	front := httptest.NewServer(modulekittest.Start(t, module, "{}").Web)
	t.Cleanup(front.Close)
	return front.URL + path
}

func TestPage(t *testing.T) {
	t.Parallel()
	rsp := httptest.NewRecorder()
	modulekittest.Start(t, module, "{}").Web.ServeHTTP(rsp, httptest.NewRequest("GET", path, nil))
	if rsp.Code != http.StatusOK || !strings.HasPrefix(rsp.Body.String(), "<!doctype html>") {
		t.Errorf("%d %s", rsp.Code, rsp.Body)
	}
}

func TestEcho(t *testing.T) {
	t.Parallel()
	socket, _, err := websocket.Dial(t.Context(), serve(t)+"/socket", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.CloseNow()
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		for _, sent := range [][]byte{{}, []byte("grüß Gott"), bytes.Repeat([]byte("x"), 32<<10)} {
			if err := socket.Write(t.Context(), kind, sent); err != nil {
				t.Fatal(err)
			}
			gotKind, got, err := socket.Read(t.Context())
			if err != nil || gotKind != kind || !bytes.Equal(got, sent) {
				t.Fatalf("%v of %d bytes came back as %v of %d, %v", kind, len(sent), gotKind, len(got), err)
			}
		}
	}
	if err := socket.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("the close was not answered: %v", err)
	}
}

func TestWhoIsRefused(t *testing.T) {
	t.Parallel()
	url := serve(t) + "/socket"
	rsp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	rsp.Body.Close()
	if rsp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("without an upgrade: %s", rsp.Status)
	}
	other := &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://elsewhere.example"}}}
	if _, rsp, err := websocket.Dial(t.Context(), url, other); err == nil || rsp.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: %v", err)
	}
}
