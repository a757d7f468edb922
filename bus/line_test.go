package bus_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/internal/natsrequest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// line is a [natsrequest.Requester] that holds requests back until all have come, and then brings replies in the order of the test.
type line struct {
	natsrequest.Requester

	replies map[string]*nats.Msg // by module
	order   []string             // modules, in the order of arrival; empty for at once

	mu      sync.Mutex
	waiting map[string]func()
	sent    []natsrequest.Request
}

func (l *line) Send(to natsrequest.Receiver, i int, r natsrequest.Request) (natsrequest.Ticket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Data = append([]byte(nil), r.Data...)
	l.sent = append(l.sent, r)
	module := r.Subject[strings.LastIndexByte(r.Subject, '.')+1:]
	if l.waiting == nil {
		l.waiting = map[string]func(){}
	}
	l.waiting[module] = func() { to.Receive(i, l.replies[module]) }
	if len(l.order) == 0 {
		l.waiting[module]()
	} else if len(l.waiting) == len(l.order) {
		for _, module := range l.order {
			l.waiting[module]()
		}
	}
	return natsrequest.Ticket(len(l.sent)), nil
}

func (l *line) Forget(natsrequest.Ticket)         {}
func (l *line) Cancel(natsrequest.Ticket, string) {}
func (l *line) Lost(string)                       {}
func (l *line) Flush()                            {}

// wordless compares failures without their texts.
var wordless = cmpopts.IgnoreFields(bus.Failure{}, "Text")

// rosterOf lists modules that registered one callback.
func rosterOf(d *subjects.Declaration, modules ...string) *rosterv1.Roster {
	r := &rosterv1.Roster{Revision: 1}
	for _, name := range modules {
		r.Modules = append(r.Modules, &rosterv1.Module{Name: name, Callbacks: []*rosterv1.Interest{{Callback: d.FullName(), OnFailure: skip}}})
	}
	return r
}

func over(t testing.TB, l natsrequest.Requester, r *rosterv1.Roster) *bus.Client {
	t.Helper()
	c, err := bus.New(busopts.With(t.Context(), busopts.Client{Requester: l, Roster: r}), nil, bus.Options{ServerName: "example.com"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func data(m proto.Message) *nats.Msg {
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return &nats.Msg{Data: raw}
}

func failure(kind rosterv1.FailureKind) *nats.Msg {
	return &nats.Msg{Header: (&wire.Failure{Kind: kind, Text: "oh"}).Header()}
}

// The same question, answers and failures make the same decision, byte for byte, whatever comes first.
func TestOrderOfRepliesCannotBeTold(t *testing.T) {
	t.Parallel()
	states := func(user, state string) proto.Message {
		return &callbacksv1.GetUsersForStatesResponse{Users: map[string]*callbacksv1.UserPresenceStates{
			user: {States: []*callbacksv1.UserPresenceState{{UserId: state}}}, "@a:x": {}, "@z:x": {},
		}}
	}
	kinds := map[*subjects.Declaration][]*nats.Msg{
		subjects.UserMayCreateRoom.Declaration: {
			{}, {}, data(denied("A")), data(denied("")), failure(failed), failure(busy), {Data: []byte("\xff")},
		},
		subjects.GetUsersForStates.Declaration: {
			{}, data(states("@a:x", "@b:x")), data(states("@b:x", "@c:x")), data(states("@a:x", "@c:x")), failure(panicked),
		},
	}
	modules := []string{"m0", "m1", "m2", "m3", "m4"}
	rapid.Check(t, func(rt *rapid.T) {
		d := rapid.SampledFrom([]*subjects.Declaration{subjects.UserMayCreateRoom.Declaration, subjects.GetUsersForStates.Declaration}).Draw(rt, "callback")
		asked := modules[:rapid.IntRange(1, len(modules)).Draw(rt, "modules")]
		roster := rosterOf(d, asked...)
		replies := map[string]*nats.Msg{}
		for i, module := range asked {
			replies[module] = rapid.SampledFrom(kinds[d]).Draw(rt, module)
			roster.Modules[i].Callbacks[0].OnFailure = rapid.SampledFrom([]callbacksv1.OnFailure{skip, refuse, fail}).Draw(rt, "policy")
		}
		decide := func(order []string) (bus.Decision[proto.Message], string, error) {
			got, err := over(t, &line{replies: replies, order: order}, roster).Ask(t.Context(), d, d.NewRequest())
			raw, marshalled := proto.MarshalOptions{Deterministic: true}.Marshal(got.Answer)
			if marshalled != nil {
				rt.Fatal(marshalled)
			}
			return got, string(raw), err
		}
		want, wantRaw, wantErr := decide(asked)
		got, gotRaw, gotErr := decide(rapid.Permutation(asked).Draw(rt, "order"))
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" || wantRaw != gotRaw {
			rt.Fatalf("%x, %x (-want +got):\n%s", wantRaw, gotRaw, diff)
		}
		if diff := cmp.Diff(wantErr, gotErr); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func TestReplies(t *testing.T) {
	t.Parallel()
	json := func(s string) *nats.Msg {
		return &nats.Msg{Header: nats.Header{wire.HeaderContentType: {wire.JSONType}}, Data: []byte(s)}
	}
	tests := map[string]struct {
		reply *nats.Msg
		want  *verdict
		kind  rosterv1.FailureKind
	}{
		"nothing":                            {&nats.Msg{}, nil, 0},
		"a refusal":                          {data(denied("A")), denied("A"), 0},
		"only what this version cannot read": {&nats.Msg{Data: []byte{0x98, 0x06, 0x01}}, nil, malformed},
		"what is no message":                 {&nats.Msg{Data: []byte("\xff\xff")}, nil, malformed},
		"JSON that does not say it is":       {&nats.Msg{Data: []byte(`{"refusal":{}}`)}, nil, malformed},
		"raw JSON that is none":              {data(&verdict{Refusal: &callbacksv1.Refusal{AdditionalFields: []byte("[]")}}), nil, malformed},
		"nothing in JSON":                    {json(``), nil, 0},
		"an empty object in JSON":            {json(`{}`), nil, 0},
		"only unknown fields in JSON":        {json(`{"verdict":"no"}`), nil, malformed},
		"a refusal without its wrapper":      {json(`{"errcode":"M_FORBIDDEN","error":"no"}`), nil, malformed},
		"a refusal that is misspelled":       {json(`{"refusals":{"errcode":"A"}}`), nil, malformed},
		"no refusal, and what is unknown":    {json(`{"refusal":null,"verdict":"no"}`), nil, malformed},
		"a refusal, and what is unknown":     {json(`{"refusal":{"errcode":"A"},"verdict":"no"}`), denied("A"), 0},
		"a refusal with an unknown word":     {json(`{"refusal":{"errcode":"A","reason":"x"}}`), denied("A"), 0},
		"a refusal in JSON":                  {json(`{"refusal":{"errcode":"A"}}`), denied("A"), 0},
		"a refusal without words in JSON":    {json(`{"refusal":{}}`), denied("M_FORBIDDEN"), 0},
		"a refusal that is none in JSON":     {json(`{"refusal":null}`), nil, 0},
		"a refusal of the wrong type":        {json(`{"refusal":true}`), nil, malformed},
		"what is no JSON":                    {json(`refusal`), nil, malformed},
		"nobody there":                       {&nats.Msg{Header: nats.Header{"Status": {"503"}}}, nil, absent},
		"a failure":                          {failure(panicked), nil, panicked},
		"a failure beside an answer":         {&nats.Msg{Header: failure(failed).Header, Data: data(denied("A")).Data}, nil, failed},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &line{replies: map[string]*nats.Msg{"a": tt.reply}}
			got, err := over(t, l, rosterOf(subjects.UserMayCreateRoom.Declaration, "a")).SpamChecker.UserMayCreateRoom(t.Context(), &question{})
			if diff := cmp.Diff(tt.want, got.Answer, protocmp.Transform()); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			var want []bus.Failure
			if tt.kind != 0 {
				want = []bus.Failure{{Module: "a", Kind: tt.kind, Policy: skip}}
			}
			if diff := cmp.Diff(want, got.Failures, wordless); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What an encoder leaves of a request that it gives up is a request, too: a shorter one.
func TestRequestThatCannotBeWrittenIsSentToNobody(t *testing.T) {
	t.Parallel()
	for _, json := range []bool{false, true} {
		l, roster := &line{}, rosterOf(subjects.UserMayInvite.Declaration, "a", "b")
		for _, m := range roster.GetModules() {
			m.Json = json
		}
		req := &callbacksv1.UserMayInviteRequest{Inviter: "@a:x", Invitee: "\xff"}
		got, err := over(t, l, roster).SpamChecker.UserMayInvite(t.Context(), req)
		want := []bus.Failure{{Module: "a", Kind: malformed, Policy: skip}, {Module: "b", Kind: malformed, Policy: skip}}
		if diff := cmp.Diff(want, got.Failures, wordless); diff != "" || err != nil || len(l.sent) > 0 {
			t.Errorf("JSON %v: sent %v, %v (-want +got):\n%s", json, l.sent, err, diff)
		}
	}
}

func TestRequestSaysHowLongThereIsOnlyWhereThatIsLess(t *testing.T) {
	t.Parallel()
	l := &line{replies: map[string]*nats.Msg{"a": {}}}
	roster := rosterOf(subjects.UserMayCreateRoom.Declaration, "a")
	c := over(t, l, roster)
	if _, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); err != nil || l.sent[0].Header() != nil {
		t.Errorf("sent %v, %v", l.sent[0], err)
	}
	roster = proto.CloneOf(roster)
	roster.Revision, roster.Modules[0].Callbacks[0].TimeoutMs = 2, uint32(time.Hour.Milliseconds())
	c.SetRoster(roster)
	if _, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); err != nil {
		t.Error(err)
	}
	if left := l.sent[1].Timeout; left <= 0 || left > time.Minute { // of the default budget
		t.Errorf("%v are left", left)
	}
}

func TestModulesGetTheMappingTheyAskedFor(t *testing.T) {
	t.Parallel()
	l := &line{replies: map[string]*nats.Msg{"a": {}, "b": {}, "c": {}}}
	roster := rosterOf(subjects.UserMayCreateRoom.Declaration, "a", "b", "c")
	roster.Modules[1].Json = true
	req := &question{UserId: "@u:x", RoomConfig: []byte(`{ "a":1.0 }`)}
	if _, err := over(t, l, roster).SpamChecker.UserMayCreateRoom(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	if want := `{"user_id":"@u:x","room_config":{ "a":1.0 }}`; !l.sent[1].JSON || string(l.sent[1].Data) != want {
		t.Errorf("b got %s, want %s", l.sent[1].Data, want)
	}
	for _, i := range []int{0, 2} {
		got := &question{}
		if err := proto.Unmarshal(l.sent[i].Data, got); err != nil || l.sent[i].JSON || !proto.Equal(req, got) {
			t.Errorf("%d got %v, %v", i, got, err)
		}
	}
}

func TestCallbackUnknownToThisVersionIsNotAsked(t *testing.T) {
	t.Parallel()
	roster := rosterOf(subjects.UserMayCreateRoom.Declaration, "a")
	roster.Modules[0].Callbacks = append(roster.Modules[0].Callbacks,
		&rosterv1.Interest{Callback: "spam_checker.user_may_think"}, &rosterv1.Interest{Callback: "telepathy.on_thought"}, &rosterv1.Interest{})
	c := over(t, &line{replies: map[string]*nats.Msg{"a": data(denied("A"))}}, roster)
	if got, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); got.DecidedBy != "a" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestOlderRosterChangesNothing(t *testing.T) {
	t.Parallel()
	d := subjects.UserMayCreateRoom.Declaration
	c := over(t, &line{}, rosterOf(d, "a"))
	for _, revision := range []uint64{1, 0} {
		older := rosterOf(d, "b")
		older.Revision = revision
		c.SetRoster(older)
		if got := c.Roster().GetModules()[0].GetName(); got != "a" {
			t.Errorf("roster %d replaced roster 1", revision)
		}
	}
	newer := rosterOf(d)
	newer.Revision = 2
	c.SetRoster(newer)
	if c.Wants(d) || c.Roster().GetRevision() != 2 {
		t.Errorf("roster 2 was not taken over: %v", c.Roster())
	}
}

func TestAwaitRoster(t *testing.T) {
	t.Parallel()
	d := subjects.UserMayCreateRoom.Declaration
	c := over(t, &line{}, rosterOf(d, "a"))
	if r, err := c.AwaitRoster(t.Context(), 0); r.GetRevision() != 1 || err != nil {
		t.Errorf("got %v, %v", r, err)
	}
	newer := rosterOf(d, "b")
	newer.Revision = 5
	go c.SetRoster(newer)
	if r, err := c.AwaitRoster(t.Context(), 1); r.GetRevision() != 5 || err != nil {
		t.Errorf("got %v, %v", r, err)
	}
}
