package door_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modulebus/modulebus/internal/busd/door"
	"github.com/modulebus/modulebus/internal/webpath"
)

func TestProblemIsAMatrixErrorOverHTTPAndNATS(t *testing.T) {
	t.Parallel()
	p := door.NewProblem(http.StatusServiceUnavailable, "M_UNKNOWN", "busy")
	p.Module, p.Failure, p.DecisionID = "gate", "timeout", "d-1"
	w := httptest.NewRecorder()
	p.WriteTo(w)
	const want = `{"errcode":"M_UNKNOWN","error":"busy","module":"gate","failure":"timeout","decision_id":"d-1"}`
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || w.Body.String() != want {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if h := p.Header(); !strings.HasPrefix(h.Get("Nats-Service-Error-Code"), "503") {
		t.Errorf("over NATS: %v", h)
	}
}

func TestWriteJSONKeepsCharactersAndTellsWhatItCannotWrite(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	door.WriteJSON(w, http.StatusOK, map[string]string{"a": "<b> & c"})
	if w.Body.String() != `{"a":"<b> & c"}` || w.Header().Get("Content-Length") != "15" {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
	w = httptest.NewRecorder()
	door.WriteJSON(w, http.StatusOK, make(chan int))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("a channel is answered %d", w.Code)
	}
	w = httptest.NewRecorder()
	door.TurnAway(w, "drains")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("turned away with %d %v", w.Code, w.Header())
	}
}

func TestRouteForGETAnswersHEAD(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		route door.Route
		want  []string
	}{
		{door.Route{}, nil},
		{door.Route{Method: http.MethodPost}, []string{"POST"}},
		{door.Route{Method: http.MethodGet}, []string{"GET", "HEAD"}},
		{door.Route{Method: http.MethodGet, Endless: true}, []string{"GET"}},
	} {
		if got := c.route.Methods(); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v", c.route, got)
		}
	}
}

func TestRouteWithATreeTakesWhatLiesBelow(t *testing.T) {
	t.Parallel()
	leaf := door.Route{In: webpath.Bus, Path: "/v1/a"}
	tree := door.Route{In: webpath.Bus, Path: "/v1/a", Tree: true}
	if leaf.Pattern() != "/_modulebus/v1/a" || tree.Pattern() != "/_modulebus/v1/a/" {
		t.Errorf("%s, %s", leaf.Pattern(), tree.Pattern())
	}
	if leaf.Takes("/_modulebus/v1/a/b") || !tree.Takes("/_modulebus/v1/a/b") || tree.Takes("/_modulebus/v1/a") || tree.Takes("/_modulebus/v1/ab") {
		t.Error("a path is taken by the wrong route")
	}
}

func TestLifeBeginsAndDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := door.NewLife()
		if l.Begun() || l.Draining() || l.AwaitBegin(t.Context()) {
			t.Error("it has begun before Begin")
		}
		noticed := make(chan bool)
		go func() { noticed <- l.AwaitBegin(t.Context()) }()
		synctest.Wait()
		l.Begin()
		if !<-noticed || !l.Begun() {
			t.Error("Begin was not noticed")
		}
		ctx, release := l.UntilDrain(t.Context())
		defer release()
		if ctx.Err() != nil {
			t.Error("it drains before Drain")
		}
		l.Drain()
		<-ctx.Done()
		if !l.Draining() {
			t.Error("Drain was not noticed")
		}
	})
}

func TestLifeThatDrainsBeforeItBeginsLetsNobodyWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, start := door.NewLife(), time.Now()
		l.Drain()
		end := door.Until{Context: t.Context(), Time: start.Add(time.Hour)}
		if l.AwaitBeginUntil(end) || !time.Now().Equal(start) {
			t.Error("it was waited for")
		}
		if at, ok := end.Deadline(); !ok || !at.Equal(start.Add(time.Hour)) {
			t.Errorf("the deadline is %v, %v", at, ok)
		}
	})
}

func TestWaitIsAsLongAsTheQuerySays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := door.NewLife()
		for query, want := range map[string]time.Duration{"": 25 * time.Second, "?wait=2s": 2 * time.Second, "?wait=2h": time.Minute} {
			start := time.Now()
			ctx, release, p := l.Wait(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+query, nil), 25*time.Second, time.Minute)
			if p != nil {
				t.Fatal(query, p)
			}
			<-ctx.Done()
			if took := time.Since(start); took != want || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Errorf("%q waits %v", query, took)
			}
			release()
		}
		for _, query := range []string{"?wait=soon", "?wait=-1s"} {
			if _, _, p := l.Wait(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/"+query, nil), 0, 0); p == nil || p.Status != http.StatusBadRequest {
				t.Errorf("%q: %v", query, p)
			}
		}
	})
}

func TestCutTellsWhyABodyIsNotWhole(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err    error
		status int
	}{
		{&http.MaxBytesError{Limit: 1}, http.StatusRequestEntityTooLarge},
		{os.ErrDeadlineExceeded, http.StatusRequestTimeout},
		{io.ErrUnexpectedEOF, http.StatusBadRequest},
	} {
		if p := door.Cut(c.err, time.Second); p == nil || p.Status != c.status {
			t.Errorf("%v: %v", c.err, p)
		}
	}
	if p := door.Cut(nil, time.Second); p != nil {
		t.Errorf("a whole body: %v", p)
	}
}
