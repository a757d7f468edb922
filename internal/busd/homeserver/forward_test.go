package homeserver_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd/certs/certstest"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/homeserver"
	"github.com/modulebus/modulebus/schemas/moduleapi/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// forwarder passes calls on to a homeserver that answers as the handler does.
func forwarder(t *testing.T, handler http.HandlerFunc, tokenFile string) (*homeserver.Forwarder, *httptest.Server) {
	t.Helper()
	hs := httptest.NewServer(handler)
	t.Cleanup(hs.Close)
	f, err := homeserver.New(config.Homeserver{URL: hs.URL + "/_synapse/modulebus", TokenFile: tokenFile}, nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f, hs
}

// TestHomeserverIsTrustedByItsAuthority has a homeserver with a certificate that the system does not know.
func TestHomeserverIsTrustedByItsAuthority(t *testing.T) {
	t.Parallel()
	hs := httptest.NewUnstartedServer(answers(200, `{"is_admin":true}`))
	hs.Config.ErrorLog = log.New(io.Discard, "", 0)
	a := certstest.New(t)
	cert, key := a.Issue("127.0.0.1")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	hs.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	hs.StartTLS()
	defer hs.Close()
	for ca, trusted := range map[string]bool{a.File: true, "": false} {
		f, err := homeserver.New(config.Homeserver{URL: hs.URL, TLS: config.TLS{CA: ca}}, nil, zerolog.Nop())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if admin, err := isAdmin(t.Context(), f); admin != trusted {
			t.Errorf("with the authority %q: %t, %v", ca, admin, err)
		}
	}
}

func TestHomeserversTokenIsReplacedWhileInUse(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	write := func(token string) {
		if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	f, _ := forwarder(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, `{"is_admin":%t}`, r.Header.Get("Authorization") == "Bearer newer")
	}, file)
	write("newer")
	deadline := time.After(time.Minute)
	for {
		admin, err := isAdmin(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if admin {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatal("the new token is not shown")
		}
	}
}

func isAdmin(ctx context.Context, f *homeserver.Forwarder) (bool, error) {
	reply, err := f.Call(ctx, subjects.APIIsUserAdmin.Method, &moduleapiv1.IsUserAdminRequest{UserId: "@admin:example.com"})
	if err != nil {
		return false, err
	}
	return reply.(*moduleapiv1.IsUserAdminResponse).GetIsAdmin(), nil
}

// matrix sees to a Matrix error.
func matrix(t *testing.T, err error, status int, errcode string) {
	t.Helper()
	if e, ok := errors.AsType[*bus.MatrixError](err); !ok || e.Status != status || e.Errcode != errcode {
		t.Errorf("got %v, want %d %s", err, status, errcode)
	}
}

func answers(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestCallIsAPostWithTheToken(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	saw := make(chan []string, 1)
	f, _ := forwarder(t, func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			UserID string `json:"user_id"`
		}
		_ = json.NewDecoder(r.Body).Decode(&body)
		saw <- []string{r.Method, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), body.UserID}
		answers(200, `{"is_admin":true,"unknown":1}`)(w, r)
	}, token)
	if admin, err := isAdmin(t.Context(), f); err != nil || !admin {
		t.Errorf("got %v, %v", admin, err)
	}
	want := []string{"POST", "/_synapse/modulebus/v1/is_user_admin", "Bearer secret", "application/json", "@admin:example.com"}
	if diff := cmp.Diff(want, <-saw); diff != "" {
		t.Error(diff)
	}
}

func TestErrorsOfTheHomeserverArePassedOn(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status        int
		body          string
		want          int
		wantErrorcode string
	}{
		"a Matrix error":   {404, `{"errcode":"M_NOT_FOUND","error":"no such user"}`, 404, "M_NOT_FOUND"},
		"no Matrix error":  {500, `<html>`, 500, "M_UNKNOWN"},
		"a reply of trash": {200, `[]`, 502, "M_UNKNOWN"},
		"a wrong type":     {200, `{"is_admin":"perhaps"}`, 502, "M_UNKNOWN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, _ := forwarder(t, answers(tt.status, tt.body), "")
			_, err := isAdmin(t.Context(), f)
			matrix(t, err, tt.want, tt.wantErrorcode)
		})
	}
}

func TestReplyThatIsTooLargeIsAnError(t *testing.T) {
	t.Parallel()
	f, _ := forwarder(t, func(w http.ResponseWriter, _ *http.Request) {
		spaces := make([]byte, 1<<20)
		for i := range spaces {
			spaces[i] = ' '
		}
		_, _ = w.Write([]byte(`{"is_admin":`))
		for range 33 {
			_, _ = w.Write(spaces)
		}
		_, _ = w.Write([]byte(`true}`))
	}, "")
	_, err := isAdmin(t.Context(), f)
	matrix(t, err, http.StatusBadGateway, "M_UNKNOWN")
}

func TestHomeserverThatIsNotThereIsABadGateway(t *testing.T) {
	t.Parallel()
	f, hs := forwarder(t, answers(200, `{}`), "")
	hs.Close()
	_, err := isAdmin(t.Context(), f)
	matrix(t, err, http.StatusBadGateway, "M_UNKNOWN")
}

func TestCallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	arrived, over := make(chan struct{}), make(chan struct{})
	f, _ := forwarder(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-over }, "")
	t.Cleanup(func() { close(over) })
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	go func() { <-arrived; cancel() }()
	if _, err := isAdmin(ctx, f); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestMissingTokenFileIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := homeserver.New(config.Homeserver{URL: "http://127.0.0.1:1", TokenFile: "nothing"}, nil, zerolog.Nop()); err == nil {
		t.Error("it starts without its token")
	}
}

func TestRequestThatCannotBeWrittenIsAnError(t *testing.T) {
	t.Parallel()
	f, _ := forwarder(t, answers(200, `{}`), "")
	if _, err := f.Call(t.Context(), subjects.APIIsUserAdmin.Method, proto.Message(&moduleapiv1.IsUserAdminRequest{UserId: "\xff"})); err == nil {
		t.Error("it is sent")
	}
}

// TestCallIsNotSentOn has a homeserver that redirects to another one, which must get neither the token nor the request.
func TestCallIsNotSentOn(t *testing.T) {
	t.Parallel()
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s was sent on", r.URL) }))
	t.Cleanup(thief.Close)
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		f, _ := forwarder(t, http.RedirectHandler(thief.URL, status).ServeHTTP, "")
		_, err := isAdmin(t.Context(), f)
		if no, ok := errors.AsType[*bus.MatrixError](err); !ok || no.Status != http.StatusBadGateway {
			t.Errorf("%d: %v", status, err)
		}
	}
}
