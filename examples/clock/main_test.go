package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modulebus/modulebus/modulekit/modulekittest"
)

func TestPage(t *testing.T) {
	t.Parallel()
	rsp := httptest.NewRecorder()
	modulekittest.Start(t, module, "{}").Web.ServeHTTP(rsp, httptest.NewRequest("GET", path, nil))
	if rsp.Code != http.StatusOK || !strings.HasPrefix(rsp.Body.String(), "<!doctype html>") {
		t.Errorf("%d %s", rsp.Code, rsp.Body)
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hs := modulekittest.Start(t, module, "{}")
		start := time.Now().UTC()
		ctx, leave := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer leave()
		rsp := httptest.NewRecorder()
		hs.Web.ServeHTTP(rsp, httptest.NewRequestWithContext(ctx, "GET", path+"/events", nil))

		var want strings.Builder
		for i := range 3 {
			fmt.Fprintf(&want, "id: %d\ndata: %s\n\n", i+1, start.Add(time.Duration(i)*time.Second).Format(time.RFC3339Nano))
		}
		if got := rsp.Body.String(); got != want.String() || !rsp.Flushed {
			t.Errorf("got\n%s\nflushed: %v; want\n%s", got, rsp.Flushed, &want)
		}
		if got := time.Since(start); got != 2500*time.Millisecond {
			t.Errorf("when the client had left, it went on until %v", got)
		}
	})
}
