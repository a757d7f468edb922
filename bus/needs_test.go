package bus_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const byPassword = "m.login.password"

// login is a request whose fields are all secrets.
func login(kind string) *callbacksv1.AuthCheckersRequest {
	return &callbacksv1.AuthCheckersRequest{
		User: "alice", LoginType: kind,
		LoginDict: []byte(`{"password":"hunter2","captcha":"hunter3","device_id":"hunter4","nested":{"password":"hunter5"}}`),
	}
}

// checks is a module that registers for a login type, tells what it gets, and authenticates users it knows.
func checks(kind string, fields []string, got chan<- string, known ...string) func(*modulekit.ModuleAPI) {
	return func(api *modulekit.ModuleAPI) {
		api.RegisterPasswordAuthProviderCallbacks(modulekit.PasswordAuthProviderCallbacks{
			AuthCheckers: []modulekit.Keyed[*callbacksv1.AuthCheckersRequest, *callbacksv1.AuthCheckersResponse]{{
				Key: kind, Fields: fields,
				Func: func(_ context.Context, req *callbacksv1.AuthCheckersRequest) (*callbacksv1.AuthCheckersResponse, error) {
					got <- api.Name() + " " + string(req.GetLoginDict())
					if slices.Contains(known, req.GetUser()) {
						return &callbacksv1.AuthCheckersResponse{UserId: "@" + req.GetUser() + ":" + api.ServerName()}, nil
					}
					return nil, nil
				},
			}},
		})
	}
}

// all returns what has been told so far.
func all(got chan string) (all []string) {
	for len(got) > 0 {
		all = append(all, <-got)
	}
	return all
}

func TestSecretsReachOnlyWhoRegisteredForThem(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("token"), entry("short"), entry("long"), entry("last"))
	got := make(chan string, 8)
	s.run("token", "w", checks("m.login.token", []string{"password", "token"}, got, "alice"))
	s.run("short", "w", checks(byPassword, []string{"password"}, got))
	s.run("long", "w", checks(byPassword, []string{"password", "captcha", "absent"}, got, "alice"))
	s.run("last", "w", checks(byPassword, []string{"password"}, got, "alice"))
	sent := s.spy("modulebus.>")
	d, err := s.PasswordAuthProvider.AuthCheckers(t.Context(), login(byPassword))
	if err != nil || d.DecidedBy != "long" || d.Answer.GetUserId() != "@alice:example.com" {
		t.Errorf("got %v, %v", d, err)
	}
	want := []string{`short {"password":"hunter2"}`, `long {"captcha":"hunter3","password":"hunter2"}`}
	if diff := cmp.Diff(want, all(got)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// Nor does anybody else hear of them on the way.
	var to []string
	for _, m := range sent.heard() {
		if bytes.Contains(m.Data, []byte("hunter")) {
			to = append(to, m.Subject)
		}
		if bytes.Contains(m.Data, []byte("hunter4")) || bytes.Contains(m.Data, []byte("hunter5")) {
			t.Errorf("%s: %s", m.Subject, m.Data)
		}
	}
	auth := subjects.AuthCheckers.Declaration
	if diff := cmp.Diff([]string{names.Worker(auth, "short", "w"), names.Worker(auth, "long", "w")}, to); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoginTypeThatNobodyRegisteredForIsAskedOfNobody(t *testing.T) {
	t.Parallel()
	s := newStage(t, natstest.InProcess(t), entry("a"))
	got := make(chan string, 8)
	s.run("a", "w", checks(byPassword, []string{"password"}, got, "alice"))
	for _, kind := range []string{"m.login.token", "", "m.login"} {
		if d, err := s.PasswordAuthProvider.AuthCheckers(t.Context(), login(kind)); err != nil || d.Answer != nil || d.Failures != nil {
			t.Errorf("%q: got %v, %v", kind, d, err)
		}
	}
	if got := all(got); got != nil {
		t.Errorf("asked %q", got)
	}
}

// What the log and the error say of a login that fails must not be what the login was.
func TestSecretsStayOutOfWhatIsSaidOfFailures(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	logger := zerolog.New(&log)
	d := subjects.AuthCheckers.Declaration
	m := module(d, "a", &rosterv1.Interest{OnFailure: fail, Needs: &rosterv1.Needs{Keys: []*rosterv1.Key{{Value: byPassword, Fields: []string{"password"}}}}})
	for _, reply := range []*nats.Msg{failure(failed), gone, {Data: []byte("\xffhunter2")}} {
		ctx := busopts.With(t.Context(), busopts.Client{
			Requester: &line{replies: map[string]*nats.Msg{"a": reply}},
			Roster:    &rosterv1.Roster{Revision: 1, Modules: []*rosterv1.Module{m}},
		})
		c, err := bus.New(ctx, nil, bus.Options{ServerName: serverName, Log: &logger})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.PasswordAuthProvider.AuthCheckers(t.Context(), login(byPassword))
		c.Close()
		if err == nil || strings.Contains(err.Error()+log.String(), "hunter") {
			t.Errorf("%v; log:\n%s", err, &log)
		}
	}
}

func TestFieldsOfWhatIsNoObject(t *testing.T) {
	t.Parallel()
	for _, dict := range []string{``, `[]`, `"password"`, `null`, `{"password":`, `{"password":1,"password":2}`} {
		l := &line{replies: map[string]*nats.Msg{"a": {}}}
		d := subjects.AuthCheckers.Declaration
		m := module(d, "a", &rosterv1.Interest{Needs: &rosterv1.Needs{Keys: []*rosterv1.Key{{Value: byPassword, Fields: []string{"password"}}}}})
		c := over(t, l, &rosterv1.Roster{Revision: 1, Modules: []*rosterv1.Module{m}})
		req := &callbacksv1.AuthCheckersRequest{LoginType: byPassword, LoginDict: []byte(dict)}
		got, err := c.PasswordAuthProvider.AuthCheckers(t.Context(), req)
		if err != nil || got.Answer != nil || len(l.sent) != 1 {
			t.Errorf("%s: got %v, %v", dict, got, err)
		}
		if strings.Contains(string(l.sent[0].Data), "1") || strings.Contains(string(l.sent[0].Data), "[") {
			t.Errorf("%s: sent %s", dict, l.sent[0].Data)
		}
	}
}
