package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/bus/bustest"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

const (
	skip   = callbacksv1.OnFailure_SKIP
	refuse = callbacksv1.OnFailure_REFUSE
	fail   = callbacksv1.OnFailure_FAIL

	absent    = rosterv1.FailureKind_ABSENT
	timeout   = rosterv1.FailureKind_TIMEOUT
	busy      = rosterv1.FailureKind_BUSY
	failed    = rosterv1.FailureKind_ERROR
	panicked  = rosterv1.FailureKind_PANIC
	malformed = rosterv1.FailureKind_MALFORMED
)

// Times of modules that do not answer, and of those that do: a test waits for the first, and for the second only to fail.
const (
	soon = 20 * time.Millisecond
	ages = time.Minute
)

type (
	question = callbacksv1.UserMayCreateRoomRequest
	verdict  = callbacksv1.UserMayCreateRoomResponse
)

func denied(errcode string) *verdict {
	return &verdict{Refusal: &callbacksv1.Refusal{Errcode: errcode}}
}

// denies is a module that refuses, with its own name.
func denies(module string) bustest.Script {
	return bustest.Answer(subjects.UserMayCreateRoom, denied(module)).By(module).Timeout(ages)
}

// abstains is a module without an opinion.
func abstains(module string) bustest.Script {
	return bustest.Answer(subjects.UserMayCreateRoom, nil).By(module).Timeout(ages)
}

// fails is a module that fails.
func fails(module string, kind rosterv1.FailureKind, policy callbacksv1.OnFailure) bustest.Script {
	within := ages
	if kind == timeout {
		within = soon
	}
	return bustest.Fail(subjects.UserMayCreateRoom, kind).By(module).OnFailure(policy).Timeout(within)
}

// thinks is a module that answers when nobody waits for it any more.
func thinks(module string) bustest.Script {
	return bustest.Func(subjects.UserMayCreateRoom, func(ctx context.Context, _ *question) (*verdict, error) {
		<-ctx.Done()
		return denied(module), nil
	}).By(module)
}

// cannotBeAsked is what a policy to refuse answers.
func cannotBeAsked(module string) *verdict {
	return &verdict{Refusal: &callbacksv1.Refusal{Errcode: "M_FORBIDDEN", Error: "Module " + module + " could not be asked"}}
}

func TestAsk(t *testing.T) {
	t.Parallel()
	failure := func(module string, kind rosterv1.FailureKind, policy callbacksv1.OnFailure) bus.Failure {
		return bus.Failure{Module: module, Kind: kind, Policy: policy}
	}
	tests := map[string]struct {
		modules  []bustest.Script
		answer   *verdict
		by       string
		failures []bus.Failure
		err      string
	}{
		"nobody registered":                       {nil, nil, "", nil, ""},
		"nobody has an opinion":                   {[]bustest.Script{abstains("a"), abstains("b")}, nil, "", nil, ""},
		"an empty answer is no opinion":           {[]bustest.Script{bustest.Answer(subjects.UserMayCreateRoom, &verdict{}), denies("b")}, denied("b"), "b", nil, ""},
		"the first refusal decides":               {[]bustest.Script{abstains("a"), denies("b"), denies("c")}, denied("b"), "b", nil, ""},
		"a refusal without an errcode has one":    {[]bustest.Script{bustest.Answer(subjects.UserMayCreateRoom, denied("")).By("a")}, denied("M_FORBIDDEN"), "a", nil, ""},
		"a failure that is skipped":               {[]bustest.Script{fails("a", failed, skip), denies("b")}, denied("b"), "b", []bus.Failure{failure("a", failed, skip)}, ""},
		"a failure that refuses":                  {[]bustest.Script{fails("a", failed, refuse), denies("b")}, cannotBeAsked("a"), "a", []bus.Failure{failure("a", failed, refuse)}, ""},
		"a failure that fails":                    {[]bustest.Script{fails("a", failed, fail), denies("b")}, nil, "", []bus.Failure{failure("a", failed, fail)}, "bus: spam_checker.user_may_create_room: module a failed: error"},
		"a failure that refuses, behind another":  {[]bustest.Script{fails("a", busy, skip), fails("b", panicked, refuse)}, cannotBeAsked("b"), "b", []bus.Failure{failure("a", busy, skip), failure("b", panicked, refuse)}, ""},
		"a failure behind the decision":           {[]bustest.Script{denies("a"), fails("b", failed, fail)}, denied("a"), "a", nil, ""},
		"one of three times out":                  {[]bustest.Script{abstains("a"), fails("b", timeout, skip), denies("c")}, denied("c"), "c", []bus.Failure{failure("b", timeout, skip)}, ""},
		"one of three times out, and must not":    {[]bustest.Script{abstains("a"), fails("b", timeout, fail), denies("c")}, nil, "", []bus.Failure{failure("b", timeout, fail)}, "bus: spam_checker.user_may_create_room: module b failed: timeout"},
		"two of three time out":                   {[]bustest.Script{fails("a", timeout, skip), fails("b", timeout, skip), denies("c")}, denied("c"), "c", []bus.Failure{failure("a", timeout, skip), failure("b", timeout, skip)}, ""},
		"a chain of failures that are skipped":    {[]bustest.Script{fails("a", absent, skip), fails("b", malformed, skip), fails("c", busy, skip)}, nil, "", []bus.Failure{failure("a", absent, skip), failure("b", malformed, skip), failure("c", busy, skip)}, ""},
		"an answer whose raw JSON is none":        {[]bustest.Script{bustest.Answer(subjects.UserMayCreateRoom, &verdict{Refusal: &callbacksv1.Refusal{AdditionalFields: []byte("x")}}).By("a").OnFailure(skip)}, nil, "", []bus.Failure{failure("a", malformed, skip)}, ""},
		"the default is what Synapse does, raise": {[]bustest.Script{fails("a", failed, 0)}, nil, "", []bus.Failure{failure("a", failed, fail)}, "bus: spam_checker.user_may_create_room: module a failed: error"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := bustest.New(t, tt.modules...)
			got, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{UserId: "@a:x"})
			want := bus.Decision[*verdict]{Answer: tt.answer, DecidedBy: tt.by, ByPolicy: tt.answer != nil && proto.Equal(tt.answer, cannotBeAsked(tt.by)), Failures: tt.failures, RosterRevision: got.RosterRevision}
			if diff := cmp.Diff(want, got, protocmp.Transform(), wordless); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(tt.modules) > 0 && got.RosterRevision != 1 {
				t.Errorf("it went by roster %d", got.RosterRevision)
			}
			var failure *bus.Error
			if (err == nil) != (tt.err == "") || err != nil && (err.Error() != tt.err || !errors.As(err, &failure)) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}

// Every way to fail, with every policy, before a module that refuses.
func TestFailureMeansWhatThePolicySays(t *testing.T) {
	t.Parallel()
	for _, kind := range []rosterv1.FailureKind{absent, timeout, busy, failed, panicked, malformed} {
		for policy, want := range map[callbacksv1.OnFailure]*verdict{skip: denied("b"), refuse: cannotBeAsked("a"), fail: nil} {
			t.Run(fmt.Sprint(kind, " ", policy), func(t *testing.T) {
				t.Parallel()
				c := bustest.New(t, fails("a", kind, policy), denies("b"))
				got, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{})
				if diff := cmp.Diff(want, got.Answer, protocmp.Transform()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if diff := cmp.Diff([]bus.Failure{{Module: "a", Kind: kind, Policy: policy}}, got.Failures, wordless); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				failure := &bus.Error{}
				if (err != nil) != (policy == fail) || err != nil && (!errors.As(err, &failure) || failure.Kind != kind || failure.Module != "a") {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

func TestDefaultPolicyIsTheDeclarations(t *testing.T) {
	t.Parallel()
	for _, d := range subjects.All() {
		if declared.Of(d).Key != nil || declared.Of(d).ToModule != nil {
			continue // Who is asked these depends on the request.
		}
		t.Run(d.FullName(), func(t *testing.T) {
			t.Parallel()
			c := bustest.New(t, bustest.Fail(d, failed))
			got, err := c.Ask(t.Context(), d, d.NewRequest())
			want := bus.Decision[proto.Message]{
				Failures: []bus.Failure{{Module: "scripted", Kind: failed, Policy: d.Options.GetOnFailure()}}, RosterRevision: 1,
			}
			if d.Options.GetOnFailure() == refuse {
				want.Answer, want.DecidedBy, want.ByPolicy = d.Refused(d.Options.GetRefusal()), "scripted", true
			}
			if diff := cmp.Diff(want, got, protocmp.Transform(), wordless); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if (err != nil) != (d.Options.GetOnFailure() == fail) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFailureRefusesOnlyWhereTheReplyCan(t *testing.T) {
	t.Parallel()
	c := bustest.New(t, bustest.Fail(subjects.IsUserExpired, failed).OnFailure(refuse))
	if got, err := c.AccountValidity.IsUserExpired(t.Context(), &callbacksv1.IsUserExpiredRequest{}); err == nil || got.Failures[0].Policy != fail {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestDecisionIsTheCallersOwn(t *testing.T) {
	t.Parallel()
	c := bustest.New(t, bustest.Fail(subjects.OnCreateRoom, failed))
	for range 2 {
		got, err := c.ThirdPartyRules.OnCreateRoom(t.Context(), &callbacksv1.OnCreateRoomRequest{})
		if err != nil || got.Answer.GetRefusal().GetError() == "" {
			t.Fatalf("got %v, %v; want a refusal with words", got, err)
		}
		got.Answer.Refusal.Error = ""
	}
}

func TestOriginOfAnEventDecidesWhatAFailureMeans(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		event string
		set   callbacksv1.OnFailure
		want  callbacksv1.OnFailure
	}{
		"of this server":                      {`{"sender":"@a:example.com"}`, 0, fail},
		"of another server":                   {`{"sender":"@a:example.org"}`, 0, skip},
		"of this server's other port":         {`{"sender":"@a:example.com:8448"}`, 0, skip},
		"with a key that only looks like it":  {`{"sender":"@a:example.org","SENDER":"@a:example.com"}`, 0, skip},
		"of nobody":                           {`{}`, 0, fail},
		"that cannot be read":                 {`{"sender":`, 0, fail},
		"whose sender is no user":             {`{"sender":7}`, 0, fail},
		"of another, and the operator's word": {`{"sender":"@a:example.org"}`, refuse, refuse},
		"of this, and the operator's word":    {`{"sender":"@a:example.com"}`, refuse, refuse},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := bustest.New(t, bustest.Fail(subjects.CheckEventForSpam, failed).OnFailure(tt.set))
			got, err := c.SpamChecker.CheckEventForSpam(t.Context(), &callbacksv1.CheckEventForSpamRequest{Event: &callbacksv1.Event{Json: []byte(tt.event)}})
			if got.Failures[0].Policy != tt.want || (err != nil) != (tt.want == fail) {
				t.Errorf("got %v, %v, want %v", got.Failures, err, tt.want)
			}
		})
	}
}

func TestModuleThatIsEarlierCountsThoughALaterOneAnsweredBefore(t *testing.T) {
	t.Parallel()
	answered := make(chan struct{})
	c := bustest.New(t,
		bustest.Func(subjects.UserMayCreateRoom, func(context.Context, *question) (*verdict, error) {
			<-answered
			return denied("early"), nil
		}).By("early"),
		bustest.Func(subjects.UserMayCreateRoom, func(context.Context, *question) (*verdict, error) {
			close(answered)
			return denied("late"), nil
		}).By("late"),
	)
	got, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{})
	if got.DecidedBy != "early" || got.Answer.GetRefusal().GetErrcode() != "early" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAskDoesNotWaitForModulesThatCannotMatter(t *testing.T) {
	t.Parallel()
	c := bustest.New(t, denies("a"), thinks("b"), thinks("c"))
	if got, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); got.DecidedBy != "a" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestModuleGetsTheRoomAsTheOnesBeforeLeftIt(t *testing.T) {
	t.Parallel()
	module := func(name string, answer *callbacksv1.OnCreateRoomResponse, saw *string) bustest.Script {
		return bustest.Func(subjects.OnCreateRoom, func(_ context.Context, req *callbacksv1.OnCreateRoomRequest) (*callbacksv1.OnCreateRoomResponse, error) {
			*saw = req.GetRequester().GetUserId() + " " + string(req.GetRequestContent())
			return answer, nil
		}).By(name)
	}
	var a, b, c, d string
	client := bustest.New(t,
		module("a", &callbacksv1.OnCreateRoomResponse{RequestContent: []byte(`{"n":1}`)}, &a),
		module("b", nil, &b),
		module("c", &callbacksv1.OnCreateRoomResponse{RequestContent: []byte(`{"n":2}`)}, &c),
		module("d", &callbacksv1.OnCreateRoomResponse{}, &d),
	)
	req := &callbacksv1.OnCreateRoomRequest{Requester: &callbacksv1.Requester{UserId: "@u:x"}, RequestContent: []byte(`{"n":0}`)}
	got, err := client.ThirdPartyRules.OnCreateRoom(t.Context(), req)
	if want := (&callbacksv1.OnCreateRoomResponse{RequestContent: []byte(`{"n":2}`)}); err != nil || got.DecidedBy != "" || !proto.Equal(want, got.Answer) {
		t.Errorf("got %v, %v", got, err)
	}
	want := []string{`@u:x {"n":0}`, `@u:x {"n":1}`, `@u:x {"n":1}`, `@u:x {"n":2}`}
	if diff := cmp.Diff(want, []string{a, b, c, d}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if string(req.GetRequestContent()) != `{"n":0}` {
		t.Errorf("the caller's request became %v", req)
	}
}

func TestRefusalEndsTheCreationOfARoom(t *testing.T) {
	t.Parallel()
	c := bustest.New(t,
		bustest.Answer(subjects.OnCreateRoom, &callbacksv1.OnCreateRoomResponse{RequestContent: []byte(`{}`)}).By("a"),
		bustest.Answer(subjects.OnCreateRoom, &callbacksv1.OnCreateRoomResponse{Refusal: &callbacksv1.Refusal{HttpStatus: proto.Uint32(418)}}).By("b"),
		bustest.Func(subjects.OnCreateRoom, func(context.Context, *callbacksv1.OnCreateRoomRequest) (*callbacksv1.OnCreateRoomResponse, error) {
			t.Error("a module was asked after a refusal")
			return nil, nil
		}).By("c"),
	)
	got, err := c.ThirdPartyRules.OnCreateRoom(t.Context(), &callbacksv1.OnCreateRoomRequest{})
	want := &callbacksv1.OnCreateRoomResponse{Refusal: &callbacksv1.Refusal{Errcode: "M_FORBIDDEN", HttpStatus: proto.Uint32(418)}}
	if diff := cmp.Diff(want, got.Answer, protocmp.Transform()); diff != "" || got.DecidedBy != "b" || err != nil {
		t.Errorf("%v, %v (-want +got):\n%s", got.DecidedBy, err, diff)
	}
}

func TestSetsAreUnited(t *testing.T) {
	t.Parallel()
	shows := func(module string, all bool, users ...string) bustest.Script {
		return bustest.Answer(subjects.GetInterestedUsers, &callbacksv1.GetInterestedUsersResponse{Users: users, AllUsers: all}).By(module)
	}
	tests := map[string]struct {
		modules []bustest.Script
		want    *callbacksv1.GetInterestedUsersResponse
		by      string
	}{
		"of two modules":            {[]bustest.Script{shows("a", false, "@b:x", "@a:x"), shows("b", false, "@c:x", "@a:x")}, &callbacksv1.GetInterestedUsersResponse{Users: []string{"@b:x", "@a:x", "@c:x"}}, ""},
		"of one module":             {[]bustest.Script{shows("a", false), shows("b", false, "@c:x", "@c:x")}, &callbacksv1.GetInterestedUsersResponse{Users: []string{"@c:x"}}, "b"},
		"of no module":              {[]bustest.Script{shows("a", false), shows("b", false)}, nil, ""},
		"unless all users are in":   {[]bustest.Script{shows("a", false, "@a:x"), shows("b", true), shows("c", false, "@c:x")}, &callbacksv1.GetInterestedUsersResponse{AllUsers: true}, "b"},
		"of those that do not fail": {[]bustest.Script{shows("a", false, "@a:x"), bustest.Fail(subjects.GetInterestedUsers, failed).By("b")}, &callbacksv1.GetInterestedUsersResponse{Users: []string{"@a:x"}}, "a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := bustest.New(t, tt.modules...).PresenceRouter.GetInterestedUsers(t.Context(), &callbacksv1.GetInterestedUsersRequest{})
			if diff := cmp.Diff(tt.want, got.Answer, protocmp.Transform()); diff != "" || got.DecidedBy != tt.by || err != nil {
				t.Errorf("%q, %v (-want +got):\n%s", got.DecidedBy, err, diff)
			}
		})
	}
}

func TestNotificationReachesAllModules(t *testing.T) {
	t.Parallel()
	told := make(chan string, 3)
	module := func(name string) bustest.Script {
		return bustest.Func(subjects.OnUserRegistration, func(_ context.Context, req *callbacksv1.OnUserRegistrationRequest) (*callbacksv1.OnUserRegistrationResponse, error) {
			told <- name + " " + req.GetUser()
			return nil, nil
		}).By(name)
	}
	got, err := bustest.New(t, module("a"), module("b"), module("c")).AccountValidity.
		OnUserRegistration(t.Context(), &callbacksv1.OnUserRegistrationRequest{User: "@u:x"})
	if got.Answer != nil || got.DecidedBy != "" || err != nil || len(told) != 3 {
		t.Errorf("got %v, %v; %d were told", got, err, len(told))
	}
}

func TestAnswerFalseIsAnOpinion(t *testing.T) {
	t.Parallel()
	says := func(module string, expired *bool) bustest.Script {
		return bustest.Answer(subjects.IsUserExpired, &callbacksv1.IsUserExpiredResponse{Expired: expired}).By(module)
	}
	c := bustest.New(t, says("a", nil), says("b", new(false)), says("c", new(true)))
	got, err := c.AccountValidity.IsUserExpired(t.Context(), &callbacksv1.IsUserExpiredRequest{})
	if got.DecidedBy != "b" || got.Answer.GetExpired() || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestWants(t *testing.T) {
	t.Parallel()
	c := bustest.New(t, denies("a"))
	for _, d := range subjects.All() {
		if got, want := c.Wants(d), d == subjects.UserMayCreateRoom.Declaration; got != want {
			t.Errorf("%s: %v", d.FullName(), got)
		}
	}
}

func TestAskByDeclarationIsTheSameAsk(t *testing.T) {
	t.Parallel()
	c := bustest.New(t, fails("a", failed, skip), denies("b"))
	typed, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Ask(t.Context(), subjects.UserMayCreateRoom, &question{})
	want := bus.Decision[proto.Message]{Answer: typed.Answer, DecidedBy: typed.DecidedBy, Failures: typed.Failures, RosterRevision: typed.RosterRevision}
	if diff := cmp.Diff(want, got, protocmp.Transform(), wordless); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

//nolint:paralleltest // What other tests allocate would count.
func TestAskOfNobodyAllocatesNothing(t *testing.T) {
	c := bustest.New(t, abstains("a"))
	ctx, req := t.Context(), &callbacksv1.UserMayInviteRequest{}
	if n := testing.AllocsPerRun(100, func() { _, _ = c.SpamChecker.UserMayInvite(ctx, req) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestModulesMayAskTheHomeserverWhichAsksThem(t *testing.T) {
	t.Parallel()
	var c *bus.Client
	c = bustest.New(t,
		bustest.Func(subjects.UserMayCreateRoom, func(ctx context.Context, _ *question) (*verdict, error) {
			_, err := c.SpamChecker.UserMayInvite(ctx, &callbacksv1.UserMayInviteRequest{})
			return denied("a"), err
		}).By("a"),
		bustest.Answer(subjects.UserMayInvite, nil).By("a"),
	)
	if got, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); got.DecidedBy != "a" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestClientAsksConcurrently(t *testing.T) {
	t.Parallel()
	c := bustest.New(t, abstains("a"), fails("b", timeout, skip), bustest.Func(subjects.UserMayCreateRoom, func(_ context.Context, req *question) (*verdict, error) {
		return denied(req.GetUserId()), nil
	}).By("c").Timeout(ages))
	var asks sync.WaitGroup
	for i := range 200 {
		asks.Go(func() {
			user := fmt.Sprintf("@%d:x", i)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%3 == 0 {
				cancel()
			}
			got, err := c.SpamChecker.UserMayCreateRoom(ctx, &question{UserId: user})
			if i%3 == 0 && !errors.Is(err, context.Canceled) || i%3 != 0 && (err != nil || got.Answer.GetRefusal().GetErrcode() != user) {
				t.Errorf("%s: got %v, %v", user, got, err)
			}
		})
	}
	asks.Wait()
}
