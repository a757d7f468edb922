package antispam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// request is what reached an antispam server.
type request struct {
	path, authorization, body string
}

// asking is a Server before an antispam server that answers with the function.
func asking(t *testing.T, c config.Antispam, answer func(w http.ResponseWriter, r request)) *Server {
	t.Helper()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answer(w, request{r.URL.Path, r.Header.Get("Authorization"), string(body)})
	}))
	t.Cleanup(h.Close)
	c.BaseURL = h.URL + "/base"
	return open(t, c)
}

func open(t *testing.T, c config.Antispam) *Server {
	t.Helper()
	s, err := New(Options{Module: config.Module{Name: "gate", Antispam: c}, Log: zerolog.New(zerolog.NewTestWriter(t))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.http.CloseIdleConnections)
	return s
}

func says(status int, body string) func(http.ResponseWriter, request) {
	return func(w http.ResponseWriter, _ request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

var newRoom = &callbacksv1.UserMayCreateRoomRequest{UserId: "@a:example.com"}

// create asks whether a user may create a room.
func (s *Server) create(ctx context.Context) (*callbacksv1.Refusal, error) {
	answer, err := s.ask(ctx, subjects.UserMayCreateRoom.Declaration, newRoom)
	reply, _ := answer.(*callbacksv1.UserMayCreateRoomResponse)
	return reply.GetRefusal(), err
}

func TestServerIsAskedByPathAndTokenAndAnswers(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(" secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var got atomic.Value
	s := asking(t, config.Antispam{TokenFile: token}, func(w http.ResponseWriter, r request) {
		got.Store(r)
		says(http.StatusForbidden, `{"errcode":"ORG.NO","error":"not you","org.example.n":1}`)(w, r)
	})
	refusal, err := s.create(t.Context())
	if err != nil || refusal.GetErrcode() != "ORG.NO" || refusal.GetError() != "not you" || string(refusal.GetAdditionalFields()) != `{"org.example.n":1}` {
		t.Errorf("got %v, %v", refusal, err)
	}
	if want := (request{"/base/user_may_create_room", "Bearer secret", `{"user_id":"@a:example.com"}`}); got.Load() != want {
		t.Errorf("asked %+v, want %+v", got.Load(), want)
	}
}

func TestServerThatAllowsHasNoOpinion(t *testing.T) {
	t.Parallel()
	s := asking(t, config.Antispam{}, func(w http.ResponseWriter, r request) {
		if r.authorization != "" {
			t.Errorf("a server without a token is shown %q", r.authorization)
		}
		says(http.StatusOK, "{}")(w, r)
	})
	if answer, err := s.ask(t.Context(), subjects.UserMayCreateRoom.Declaration, newRoom); answer != nil || err != nil {
		t.Errorf("got %v, %v", answer, err)
	}
}

// TestServerFailureSaysWhatToLookAt has servers that are broken in ways an operator has to tell apart.
func TestServerFailureSaysWhatToLookAt(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter, request)
		want   string
	}{
		"a wrong token":           {says(http.StatusUnauthorized, `{"errcode":"M_UNKNOWN_TOKEN"}`), "token_file"},
		"a wrong URL":             {says(http.StatusNotFound, "404 page not found"), "base_url"},
		"a redirect":              {says(http.StatusFound, ""), "base_url"},
		"a crash":                 {says(http.StatusInternalServerError, `{"error":"boom"}`), "see its log"},
		"a page in place of JSON": {says(http.StatusOK, "<html>"), "answers {} to allow"},
		"a reply without end":     {says(http.StatusOK, "{"+strings.Repeat(" ", maxReply)+"}"), "larger than 65536 bytes"},
		"a connection that ends":  {func(http.ResponseWriter, request) { panic(http.ErrAbortHandler) }, "closed the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusal, err := asking(t, config.Antispam{}, tt.answer).create(t.Context())
			if refusal != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, %v; want an error with %q", refusal, err, tt.want)
			}
		})
	}
}

func TestServerThatIsNotThereCannotBeReached(t *testing.T) {
	t.Parallel()
	h := httptest.NewServer(http.NotFoundHandler())
	h.Close()
	if _, err := open(t, config.Antispam{BaseURL: h.URL}).create(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("got %v", err)
	}
}

func TestServerThatIsSlowFailsWithTheContext(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}), make(chan struct{})
	s := asking(t, config.Antispam{}, func(http.ResponseWriter, request) { close(begun); <-release })
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-begun; cancel() }()
	if _, err := s.create(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "in time") {
		t.Errorf("got %v", err)
	}
}

// TestServerIsToldWithinABound holds all that a server may be told at once.
func TestServerIsToldWithinABound(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var told atomic.Int64
	s := asking(t, config.Antispam{Callbacks: []string{"user_may_create_room"}, Async: []string{"user_may_create_room"}}, func(w http.ResponseWriter, r request) {
		told.Add(1)
		<-release
		says(http.StatusForbidden, `{"errcode":"M_FORBIDDEN"}`)(w, r)
	})
	tell := s.answers(t.Context())[subjects.UserMayCreateRoom.Declaration]
	for range concurrency {
		if answer, err := tell(t.Context(), newRoom); answer != nil || err != nil {
			t.Fatalf("what is told is answered %v, %v", answer, err)
		}
	}
	if _, err := tell(t.Context(), newRoom); err == nil || !strings.Contains(err.Error(), "under way") {
		t.Errorf("one more: %v", err)
	}
	close(release)
	s.owned.Wait()
	if n := told.Load(); n != concurrency {
		t.Errorf("the server was told %d times, want %d", n, concurrency)
	}
	if _, err := tell(t.Context(), newRoom); err != nil {
		t.Errorf("when it was told all: %v", err)
	}
	s.owned.Wait()
}

func TestTokenFileThatCannotBeUsedIsAnError(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{empty: "is empty", empty + "-missing": "no such file"} {
		_, err := New(Options{Module: config.Module{Antispam: config.Antispam{TokenFile: file}}})
		if err == nil || !strings.Contains(err.Error(), "antispam.token_file: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// pong answers a ping as the protocol has it.
func pong(w http.ResponseWriter, r request) {
	var ping struct{ ID string }
	_ = json.Unmarshal([]byte(r.body), &ping)
	fmt.Fprintf(w, `{"id":%q,"status":"ok"}`, ping.ID)
}

func TestPingTellsWhetherTheServerIsWell(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter, request)
		want   string // part of why it is not well; empty where it is
	}{
		"a server that answers":             {pong, ""},
		"a server that knows no pings":      {says(http.StatusNotFound, `{"errcode":"M_UNRECOGNIZED"}`), ""},
		"a server that echoes another id":   {says(http.StatusOK, `{"id":"other","status":"ok"}`), ""},
		"a server of another token":         {says(http.StatusUnauthorized, `{"errcode":"M_UNKNOWN_TOKEN"}`), "token_file"},
		"a proxy whose server is not there": {says(http.StatusBadGateway, "<html>"), "the server answered 502"},
		"a server that ends connections":    {func(http.ResponseWriter, request) { panic(http.ErrAbortHandler) }, "closed the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			why := asking(t, config.Antispam{}, tt.answer).ping(t.Context())
			if (why == "") != (tt.want == "") || !strings.Contains(why, tt.want) {
				t.Errorf("got %q, want %q", why, tt.want)
			}
		})
	}
}

// roundTrip answers requests without a network, so that a test can let time pass.
type roundTrip func(*http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestWatchTellsHealthAndLogsAChangeOnce lets a server be away for some pings, and then come back.
func TestWatchTellsHealthAndLogsAChangeOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log waittest.Log
		var mu sync.Mutex
		var told []string
		var up atomic.Bool
		s := &Server{Options: Options{
			Health: func(why string) { mu.Lock(); defer mu.Unlock(); told = append(told, why) },
			Log:    zerolog.New(&log),
		}, http: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if !up.Load() {
				return nil, errors.New("refused")
			}
			rsp := httptest.NewRecorder()
			body, _ := io.ReadAll(r.Body)
			pong(rsp, request{body: string(body)})
			return rsp.Result(), nil
		})}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.watch(ctx) }()
		after := func(d time.Duration) (all []string) {
			<-time.After(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			all, told = told, nil
			return all
		}
		if all := after(2*unwellEvery + time.Millisecond); len(all) != 3 || !strings.Contains(all[2], "cannot be reached") {
			t.Errorf("while it is away, health is told %q", all)
		}
		up.Store(true)
		if all := after(unwellEvery + wellEvery); !slices.Equal(all, []string{"", ""}) {
			t.Errorf("when it is back, health is told %q", all)
		}
		if n := log.Count("the antispam server is not well"); n != 1 {
			t.Errorf("that it is away is logged %d times", n)
		}
		cancel()
		<-ended
	})
}
