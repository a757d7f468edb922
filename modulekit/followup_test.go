package modulekit

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// pacer is a module that paces background updates and authenticates logins, and writes down what it is told of them.
type pacer struct {
	api *ModuleAPI

	mu     sync.Mutex
	ends   []*callbacksv1.OnUpdateEndRequest
	logins []*callbacksv1.OnAuthCheckersLoginRequest
}

func newPacer(t *testing.T) *pacer {
	t.Helper()
	p := &pacer{}
	module := Module[struct{}]{New: func(_ struct{}, api *ModuleAPI) error {
		api.RegisterBackgroundUpdateControllerCallbacks(BackgroundUpdateControllerCallbacks{
			OnUpdate: func(_ context.Context, req *callbacksv1.OnUpdateRequest) (*callbacksv1.OnUpdateResponse, error) {
				if req.GetUpdateName() == "other" {
					return nil, nil
				}
				return &callbacksv1.OnUpdateResponse{TargetDurationMs: new(int64(100)), Token: req.GetDatabaseName()}, nil
			},
			OnUpdateEnd: func(_ context.Context, req *callbacksv1.OnUpdateEndRequest) (*callbacksv1.OnUpdateEndResponse, error) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.ends = append(p.ends, req)
				return nil, nil
			},
			DefaultBatchSize: func(context.Context, *callbacksv1.DefaultBatchSizeRequest) (*callbacksv1.DefaultBatchSizeResponse, error) {
				return nil, nil
			},
			MinBatchSize: func(context.Context, *callbacksv1.MinBatchSizeRequest) (*callbacksv1.MinBatchSizeResponse, error) {
				return nil, nil
			},
		})
		api.RegisterPasswordAuthProviderCallbacks(PasswordAuthProviderCallbacks{
			Check3PidAuth: func(_ context.Context, req *callbacksv1.Check3PidAuthRequest) (*callbacksv1.Check3PidAuthResponse, error) {
				return &callbacksv1.Check3PidAuthResponse{UserId: "@a:x", TellLogin: req.GetMedium() == "email"}, nil
			},
			OnAuthCheckersLogin: func(_ context.Context, req *callbacksv1.OnAuthCheckersLoginRequest) (*callbacksv1.OnAuthCheckersLoginResponse, error) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.logins = append(p.logins, req)
				return nil, nil
			},
		})
		return nil
	}}
	p.api = detached(t, module)
	return p
}

// detached constructs a module that is on no bus.
func detached(t *testing.T, m Module[struct{}]) *ModuleAPI {
	t.Helper()
	o := Options{ServerName: "example.com", Module: "pacer", Worker: "w1"}
	i, err := build(m, o.withDefaults(), nil, &rosterv1.Entry{})
	if err != nil {
		t.Fatal(err)
	}
	return i.api
}

// update asks whether an update may go on, with a token of the module's if it is not empty.
func (p *pacer) update(t *testing.T, name, token string) *callbacksv1.OnUpdateResponse {
	t.Helper()
	return ask[*callbacksv1.OnUpdateResponse](t, p, subjects.OnUpdate.Declaration, &callbacksv1.OnUpdateRequest{UpdateName: name, DatabaseName: token})
}

func (p *pacer) end(t *testing.T, token string) {
	t.Helper()
	ask[proto.Message](t, p, subjects.OnUpdateEnd.Declaration, &callbacksv1.OnUpdateEndRequest{Module: "pacer", Worker: "w1", Token: token})
}

func ask[Reply proto.Message](t *testing.T, p *pacer, d *subjects.Declaration, req proto.Message) Reply {
	t.Helper()
	got, err := p.api.ask(t.Context(), d, req)
	if err != nil {
		t.Fatal(err)
	}
	reply, _ := got.(Reply)
	return reply
}

// told is what the module was told of ends: tokens, with a question mark where nothing was heard.
func (p *pacer) told() (told []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, end := range p.ends {
		token := end.GetToken()
		if end.GetLost() {
			token += "?"
		}
		told = append(told, token)
	}
	return told
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("told of %q, want %q", got, want)
	}
}

// waited is how long a follow-up is waited for.
func waited(d *subjects.Declaration) time.Duration {
	return time.Duration(d.Options.GetWithinMs()) * time.Millisecond
}

func TestEndThatIsLostIsMadeUpFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(t)
		one, other := p.update(t, "one", ""), p.update(t, "two", "")
		if one.GetToken() == "" || one.GetToken() == other.GetToken() || one.GetWorker() != "w1" {
			t.Errorf("answers %v and %v", one, other)
		}
		p.update(t, "other", "") // No opinion: no end is to come.
		p.end(t, other.GetToken())
		want(t, p.told(), other.GetToken())
		<-time.After(waited(subjects.OnUpdateEnd.Declaration) - time.Nanosecond)
		want(t, p.told(), other.GetToken())
		<-time.After(time.Minute)
		want(t, p.told(), other.GetToken(), one.GetToken()+"?")
		p.end(t, one.GetToken()) // After all: the module is told what there is to tell.
		<-time.After(time.Hour)
		want(t, p.told(), other.GetToken(), one.GetToken()+"?", one.GetToken())
	})
}

func TestLoginThatIsLostIsToldWithoutAResponse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(t)
		check := func(medium string) *callbacksv1.Check3PidAuthResponse {
			return ask[*callbacksv1.Check3PidAuthResponse](t, p, subjects.Check3PidAuth.Declaration, &callbacksv1.Check3PidAuthRequest{Medium: medium})
		}
		check("msisdn") // It does not want to be told.
		finished, lost := check("email"), check("email")
		ask[proto.Message](t, p, subjects.OnAuthCheckersLogin.Declaration, &callbacksv1.OnAuthCheckersLoginRequest{
			Token: finished.GetToken(), Response: &callbacksv1.LoginResponse{},
		})
		<-time.After(waited(subjects.OnAuthCheckersLogin.Declaration) + time.Minute)
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.logins) != 2 || p.logins[0].GetResponse() == nil || p.logins[1].GetToken() != lost.GetToken() || p.logins[1].GetResponse() != nil {
			t.Errorf("told of %v", p.logins)
		}
	})
}

func TestTokenThatIsGivenAgainIsWaitedForAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(t)
		p.update(t, "one", "batch")
		<-time.After(waited(subjects.OnUpdateEnd.Declaration) - time.Minute)
		p.update(t, "two", "batch")
		<-time.After(2 * time.Minute)
		want(t, p.told())
		<-time.After(waited(subjects.OnUpdateEnd.Declaration))
		want(t, p.told(), "batch?")
	})
}

func TestModuleThatStopsIsToldNothingMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(t)
		p.update(t, "one", "before")
		p.api.stopFollowUps()
		p.update(t, "two", "while it stops")
		<-time.After(time.Hour)
		want(t, p.told())
	})
}

// A new configuration makes a new instance, and what comes from then on comes there.
func TestNewInstanceWaitsForWhatTheOldOneDid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, p := newPacer(t), newPacer(t)
		old.update(t, "one", "ends")
		old.update(t, "two", "lost")
		p.api.adoptFollowUps(old.api)
		p.end(t, "ends")
		<-time.After(time.Hour)
		want(t, old.told())
		want(t, p.told(), "ends", "lost?")

		// It may not want to be told.
		quiet := detached(t, Module[struct{}]{New: func(struct{}, *ModuleAPI) error { return nil }})
		p.update(t, "one", "lost")
		quiet.adoptFollowUps(p.api)
		<-time.After(time.Hour)
		want(t, p.told(), "ends", "lost?")
	})
}

func TestFollowUpsAreWaitedForUpToABound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPacer(t)
		for range maxPending + 10 {
			p.update(t, "one", "")
		}
		<-time.After(time.Hour)
		if told := p.told(); len(told) != maxPending {
			t.Errorf("told of %d ends, want %d", len(told), maxPending)
		}
	})
}
