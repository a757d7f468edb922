package bus_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busopts"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/rosterwire"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// failing is a roster with one module, whose failures fail an ask.
func failing(d *subjects.Declaration, change func(*rosterv1.Interest)) *rosterv1.Roster {
	r := rosterOf(d, "gate")
	i := r.GetModules()[0].GetCallbacks()[0]
	i.OnFailure, i.OnFailureFederated = callbacksv1.OnFailure_FAIL, callbacksv1.OnFailure_FAIL
	change(i)
	return r
}

func TestModuleThatCannotBeAskedIsAbsentAndIsSentNothing(t *testing.T) {
	t.Parallel()
	l := &line{}
	c := over(t, l, failing(subjects.UserMayCreateRoom.Declaration, func(i *rosterv1.Interest) { i.Unserved = "it needs too much" }))
	_, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{})
	var failed *bus.Error
	if !errors.As(err, &failed) || failed.Module != "gate" || failed.Kind != rosterv1.FailureKind_ABSENT {
		t.Errorf("got %v", err)
	}
	if len(l.sent) > 0 {
		t.Errorf("sent %v", l.sent)
	}
}

func TestModuleThatIsNamedAndUnheardOfCountsForEveryKey(t *testing.T) {
	t.Parallel()
	d := subjects.AuthCheckers.Declaration
	away := &line{replies: map[string]*nats.Msg{"gate": failure(rosterv1.FailureKind_ABSENT)}}
	c := over(t, away, failing(d, func(i *rosterv1.Interest) { i.Named = true }))
	if got, err := c.PasswordAuthProvider.AuthCheckers(t.Context(), login(byPassword)); err == nil {
		t.Errorf("a login is decided without the module: %v", got)
	}
	c = over(t, away, failing(d, func(*rosterv1.Interest) {}))
	if _, err := c.PasswordAuthProvider.AuthCheckers(t.Context(), login(byPassword)); err != nil {
		t.Errorf("a module that registered no login type was asked: %v", err)
	}
}

func TestModuleOfWhichNobodyKnowsIsNamedByEachDecision(t *testing.T) {
	t.Parallel()
	l := &line{replies: map[string]*nats.Msg{"gate": {}}}
	r := rosterOf(subjects.UserMayCreateRoom.Declaration, "gate")
	r.Modules = append(r.Modules, &rosterv1.Module{Name: "stranger", Unknown: true}, &rosterv1.Module{Name: "silent"})
	c := over(t, l, r)
	want := []bus.Failure{{
		Module: "stranger", Kind: rosterv1.FailureKind_ABSENT, Policy: callbacksv1.OnFailure_SKIP,
		Text: "it has never joined, so nobody knows what it wants",
	}}
	wanted, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{})
	if err != nil || !slices.Equal(wanted.Failures, want) {
		t.Errorf("of what another module wants, the failures are %v (%v)", wanted.Failures, err)
	}
	other, err := c.SpamChecker.UserMayInvite(t.Context(), &callbacksv1.UserMayInviteRequest{})
	if err != nil || !slices.Equal(other.Failures, want) {
		t.Errorf("of what no module wants, the failures are %v (%v)", other.Failures, err)
	}
	if !c.Wants(subjects.UserMayCreateRoom) || c.Wants(subjects.UserMayInvite) {
		t.Error("a module of which nobody knows decides what homeservers prepare for")
	}
}

// keeper keeps a roster as busd does.
func keeper(t *testing.T, home *natstest.Home, r *rosterv1.Roster) *nats.Conn {
	t.Helper()
	nc := natstest.Connect(t, home)
	_, err := nc.Subscribe(names.Roster(), func(m *nats.Msg) {
		messages, err := rosterwire.Messages(r, int(nc.MaxPayload()), "keeper")
		for _, data := range messages {
			err = errors.Join(err, m.Respond(data))
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

func TestRosterFromTheFutureSwitchesNoCheckOff(t *testing.T) {
	t.Parallel()
	home := natstest.InProcess(t)
	d := subjects.UserMayCreateRoom.Declaration
	kept := rosterOf(d, "gate")
	kept.Revision = uint64(time.Now().UnixMilli())
	nc := keeper(t, home, kept)
	c, err := bus.New(t.Context(), natstest.Connect(t, home), bus.Options{ServerName: serverName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	forged, err := proto.Marshal(&rosterv1.Roster{Revision: math.MaxUint64})
	if err == nil {
		err = nc.Publish(names.RosterChanged(), forged)
	}
	if err != nil {
		t.Fatal(err)
	}
	// What is told after it comes after it.
	later := proto.CloneOf(kept)
	later.Revision++
	data, err := proto.Marshal(later)
	if err == nil {
		err = nc.Publish(names.RosterChanged(), data)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.AwaitRoster(t.Context(), kept.GetRevision()); r.GetRevision() != later.GetRevision() || !c.Wants(d) {
		t.Errorf("goes by %v, %v", r, err)
	}
}

func TestRosterThatCanHaveBeenMadeReplacesOneThatCannot(t *testing.T) {
	t.Parallel()
	d := subjects.UserMayCreateRoom.Declaration
	future := rosterOf(d)
	future.Revision = math.MaxUint64
	c := over(t, &line{}, future)
	c.SetRoster(&rosterv1.Roster{})
	if c.Roster().GetRevision() != math.MaxUint64 {
		t.Error("a roster without a revision was taken over")
	}
	c.SetRoster(rosterOf(d, "gate"))
	if !c.Wants(d) {
		t.Error("still goes by the roster from the future")
	}
}

func TestClientFollowsARosterThatIsLargerThanAMessage(t *testing.T) {
	t.Parallel()
	home := &natstest.Home{Servers: []*server.Server{natstest.Start(t, &server.Options{DontListen: true, MaxPayload: 8 << 10})}}
	d := subjects.UserMayCreateRoom.Declaration
	var modules []string
	for i := range 400 {
		modules = append(modules, fmt.Sprintf("%s-%d", strings.Repeat("x", 60), i))
	}
	first, second := rosterOf(d, modules...), rosterOf(d, append(modules, "gate")...)
	second.Revision++
	nc := keeper(t, home, first)
	c, err := bus.New(t.Context(), natstest.Connect(t, home), bus.Options{ServerName: serverName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if !proto.Equal(first, c.Roster()) {
		t.Error("another roster came than is kept")
	}
	messages, err := rosterwire.Messages(second, int(nc.MaxPayload()), "keeper")
	for _, data := range messages {
		err = errors.Join(err, nc.Publish(names.RosterChanged(), data))
	}
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.AwaitRoster(t.Context(), first.GetRevision()); !proto.Equal(second, r) {
		t.Errorf("another roster came than was told: %v", err)
	}
}

// A thousand modules that join at once are a thousand rosters.
func TestClientUsesTheLastOfManyRosters(t *testing.T) {
	t.Parallel()
	home := natstest.InProcess(t)
	d := subjects.UserMayCreateRoom.Declaration
	first := rosterOf(d)
	nc, mine := keeper(t, home, first), natstest.Connect(t, home)
	c, err := bus.New(t.Context(), mine, bus.Options{ServerName: serverName})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	const last = 100
	release := c.HoldRosters()
	for i := range last + 1 {
		r := rosterOf(d)
		r.Modules = append(r.Modules, &rosterv1.Module{Name: fmt.Sprintf("module-%d", i), Unknown: true})
		r.Revision = first.GetRevision() + 1 + uint64(i)
		data, err := proto.Marshal(r)
		if err == nil {
			err = nc.Publish(names.RosterChanged(), data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	heard := make(chan struct{})
	err = errors.Join(nc.Flush(), mine.Flush(), mine.Barrier(func() { close(heard) }))
	select {
	case <-heard:
	case <-time.After(waittest.Patience):
		t.Error("a published roster is not read until the one before it is in use")
	}
	release()
	for r := c.Roster(); err == nil && r.GetRevision() < first.GetRevision()+1+last; {
		r, err = c.AwaitRoster(t.Context(), r.GetRevision())
	}
	if err != nil {
		t.Fatal(err)
	}
	met := 0
	for i := range last + 1 {
		if c.HasMet(fmt.Sprintf("module-%d", i)) {
			met++
		}
	}
	if met > 2 || !c.HasMet(fmt.Sprintf("module-%d", last)) {
		t.Errorf("used %d of %d rosters", met, last+1)
	}
}

// There are fifty callbacks that a module which never joined might want, and a scrape of a thousand such modules would be a million lines.
func TestModuleThatNeverJoinedHasOnlyMetricsOfItsFailures(t *testing.T) {
	t.Parallel()
	r := rosterOf(subjects.UserMayCreateRoom.Declaration, "gate")
	r.Modules = append(r.Modules, &rosterv1.Module{Name: "stranger", Unknown: true})
	metrics := prometheus.NewRegistry()
	internal := busopts.Client{Requester: &line{replies: map[string]*nats.Msg{"gate": {}}}, Roster: r}
	c, err := bus.New(busopts.With(t.Context(), internal), nil, bus.Options{ServerName: serverName, Registerer: metrics})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if of := callbacksWithMetrics(t, metrics, "stranger"); len(of) > 0 {
		t.Errorf("there are metrics of %v before anything was asked", of)
	}
	if of := callbacksWithMetrics(t, metrics, "gate"); !slices.Equal(of, []string{"user_may_create_room"}) {
		t.Errorf("there are metrics of %v of a module that joined", of)
	}
	if _, err := c.SpamChecker.UserMayInvite(t.Context(), &callbacksv1.UserMayInviteRequest{}); err != nil {
		t.Fatal(err)
	}
	if of := callbacksWithMetrics(t, metrics, "stranger"); !slices.Equal(of, []string{"user_may_invite"}) {
		t.Errorf("there are metrics of %v after it failed", of)
	}
}

// callbacksWithMetrics returns the callbacks of which there are metrics of a module.
func callbacksWithMetrics(t *testing.T, g prometheus.Gatherer, module string) (all []string) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["module"] == module && !slices.Contains(all, labels["callback"]) {
				all = append(all, labels["callback"])
			}
		}
	}
	return all
}

func TestModuleThatFailsIsToldUntilItAnswers(t *testing.T) {
	t.Parallel()
	l := &line{replies: map[string]*nats.Msg{"gate": failure(rosterv1.FailureKind_ERROR), "well": {}}}
	d := subjects.UserMayCreateRoom.Declaration
	c := over(t, l, rosterOf(d, "gate", "well"))
	if all := c.Failing(); len(all) > 0 {
		t.Errorf("failing before they were asked: %v", all)
	}
	for range 3 {
		if _, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); err != nil {
			t.Fatal(err)
		}
	}
	all := c.Failing()
	if len(all) != 1 {
		t.Fatalf("failing are %v", all)
	}
	if f := all[0]; f.Module != "gate" || f.Callback != d || f.Kind != rosterv1.FailureKind_ERROR || f.InARow != 3 || f.Open || f.At.IsZero() {
		t.Errorf("failing is %+v", f)
	}
	l.replies["gate"] = &nats.Msg{}
	if _, err := c.SpamChecker.UserMayCreateRoom(t.Context(), &question{}); err != nil {
		t.Fatal(err)
	}
	if all := c.Failing(); len(all) > 0 {
		t.Errorf("still failing after an answer: %v", all)
	}
}

func TestOriginPicksWhatFollowsAFailure(t *testing.T) {
	t.Parallel()
	d := subjects.CheckEventForSpam
	remote := &callbacksv1.CheckEventForSpamRequest{Event: &callbacksv1.Event{Json: []byte(`{"sender":"@a:elsewhere.example"}`)}}
	for _, tt := range []struct {
		name   string
		origin bus.Origin
		change func(*rosterv1.Interest)
		want   callbacksv1.OnFailure
	}{
		{"an event of another server", "", func(i *rosterv1.Interest) { i.OnFailureFederated = skip }, skip},
		{"the policy server, as of another server", bus.OriginPolicyServer, func(i *rosterv1.Interest) { i.OnFailureFederated = skip }, skip},
		{"the policy server", bus.OriginPolicyServer, func(i *rosterv1.Interest) { i.OnFailurePolicy = refuse }, refuse},
		{"the policy server's is only its own", "", func(i *rosterv1.Interest) { i.OnFailurePolicy = refuse }, fail},
		{"who asks knows better than the sender", bus.OriginLocal, func(i *rosterv1.Interest) { i.OnFailure = skip }, skip},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := over(t, &line{replies: map[string]*nats.Msg{"gate": failure(failed)}}, failing(d.Declaration, tt.change))
			ctx := t.Context()
			if tt.origin != "" {
				ctx = bus.WithOrigin(ctx, tt.origin)
			}
			got, err := c.SpamChecker.CheckEventForSpam(ctx, remote)
			followed := fail
			switch {
			case err == nil && got.Answer == nil:
				followed = skip
			case err == nil && got.ByPolicy:
				followed = refuse
			}
			if followed != tt.want {
				t.Errorf("got %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}
