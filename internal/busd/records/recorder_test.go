package records_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// observe records an ask of that callback which went to so many modules.
func observe(t *testing.T, r *records.Recorder, modules int, change ...func(*bus.Trace)) string {
	t.Helper()
	ctx, id := records.Named(t.Context())
	tr := &bus.Trace{
		Context: ctx, Callback: subjects.UserMayCreateRoom.Declaration, Start: time.Now(), Outcome: bus.OutcomeRefused,
		Request: &callbacksv1.UserMayCreateRoomRequest{UserId: "@alice:example.com"}, Modules: make([]bus.ModuleTrace, modules),
	}
	for _, f := range change {
		f(tr)
	}
	r.Observe(tr)
	return id()
}

func find(t *testing.T, r *records.Recorder, id string) (decision.Record, bool) {
	t.Helper()
	record, found, err := r.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return record, found
}

func TestMemoryIsBoundedInRecordsAndInModules(t *testing.T) {
	t.Parallel()
	for _, modules := range []int{1, 200} {
		r := records.New()
		ids := make([]string, 5000)
		for i := range ids {
			ids[i] = observe(t, r, modules)
		}
		kept := min(4096, 32768/modules)
		if _, found := find(t, r, ids[len(ids)-kept]); !found {
			t.Errorf("%d modules: the oldest of %d is gone", modules, kept)
		}
		if _, found := find(t, r, ids[len(ids)-kept-1]); found {
			t.Errorf("%d modules: more than %d are kept", modules, kept)
		}
	}
}

func TestReaderThatIsSlowIsToldHowManyItLost(t *testing.T) {
	t.Parallel()
	r := records.New()
	reader := r.Follow(decision.Filter{})
	const asks = 5000
	for range asks {
		observe(t, r, 1)
	}
	var read, missed uint64
	for end := false; !end; {
		found, lost, last, err := reader.Read()
		if err != nil {
			t.Fatal(err)
		}
		read, missed, end = read+uint64(len(found)), missed+lost, last
	}
	if read != 4096 || read+missed != asks {
		t.Errorf("read %d and lost %d of %d", read, missed, asks)
	}
}

func TestReaderIsWokenByTheNextRecord(t *testing.T) {
	t.Parallel()
	r := records.New()
	reader, ctx := r.Follow(decision.Filter{}), context.WithoutCancel(t.Context())
	woken := make(chan struct{})
	go func() { reader.Await(ctx); close(woken) }()
	id := observe(t, r, 1)
	<-woken
	if found, _, _, _ := reader.Read(); len(found) != 1 || found[0].ID != id {
		t.Errorf("got %v, want %s", found, id)
	}
}

func TestRecordHoldsTheRequestOnlyWhereTheOperatorWantsIt(t *testing.T) {
	t.Parallel()
	r := records.New()
	if record, _ := find(t, r, observe(t, r, 1)); record.Request != nil {
		t.Errorf("kept %s", record.Request)
	}
	r.KeepRequests(true)
	if record, _ := find(t, r, observe(t, r, 1)); string(record.Request) != `{"user_id":"@alice:example.com","room_config":{}}` {
		t.Errorf("kept %s", record.Request)
	}
	large := func(tr *bus.Trace) {
		tr.Request = &callbacksv1.UserMayCreateRoomRequest{UserId: string(make([]byte, 1<<17))}
	}
	if record, found := find(t, r, observe(t, r, 1, large)); !found || record.Request != nil {
		t.Errorf("found %v with %d bytes of request", found, len(record.Request))
	}
}

func TestRecordNeverHoldsSecrets(t *testing.T) {
	t.Parallel()
	r := records.New()
	r.KeepRequests(true)
	for _, m := range []proto.Message{
		&callbacksv1.AuthCheckersRequest{User: "alice", LoginDict: []byte(`{"password":"hunter2"}`)},
		&callbacksv1.AuthCheckersResponse{UserId: "@alice:b", Token: "hunter2"},
		&callbacksv1.Check3PidAuthRequest{Address: "alice@b", Password: "hunter2"},
		&callbacksv1.OnLoggedOutRequest{UserId: "@alice:b", AccessToken: "hunter2"},
		&callbacksv1.GetUsernameForRegistrationRequest{Params: []byte(`{"password":"hunter2"}`)},
		&callbacksv1.OnAuthCheckersLoginRequest{
			Module:   "alice",
			Response: &callbacksv1.LoginResponse{AccessToken: new("hunter2"), RefreshToken: new("hunter2")},
		},
	} {
		record, _ := find(t, r, observe(t, r, 1, func(tr *bus.Trace) { tr.Request, tr.Answer = m, m }))
		if got := string(record.Request) + string(record.Answer); record.Request == nil || strings.Contains(got, "hunter2") {
			t.Errorf("%T: kept %s", m, got)
		}
	}
}

func TestRecordOfAnAskInShadowWaitsForTheShadow(t *testing.T) {
	t.Parallel()
	r := records.New()
	var told func([]bus.ModuleTrace)
	id := observe(t, r, 1, func(tr *bus.Trace) { tr.AwaitShadows = func(f func([]bus.ModuleTrace)) { told = f } })
	if _, found := find(t, r, id); found || id == "" {
		t.Errorf("%q is there before the shadow has spoken", id)
	}
	told([]bus.ModuleTrace{{Module: "next", Shadow: true, Said: bus.SaidRefusal}, {Module: "gate"}})
	if record, _ := find(t, r, id); len(record.Modules) != 2 || !record.Modules[0].Shadow || record.Modules[0].Said != "refusal" {
		t.Errorf("got %+v", record)
	}
}

// TestFollowerThatCameBackIsToldWhatItMissed has followers that know records of which one is still there, and one is not.
func TestFollowerThatCameBackIsToldWhatItMissed(t *testing.T) {
	t.Parallel()
	r := records.New()
	forgotten := observe(t, r, 1)
	for range 5000 {
		observe(t, r, 1)
	}
	known := observe(t, r, 1)
	for range 3 {
		observe(t, r, 1)
	}
	for id, want := range map[string]struct {
		found  int
		missed uint64
	}{known: {2, 1}, forgotten: {2, 5002}, "": {0, 0}, "d-nonsense": {0, 0}} {
		reader := r.FollowAfter(id)
		found, missed := reader.Newest(2)
		if len(found) != want.found || missed != want.missed {
			t.Errorf("after %q: %d found, %d missed", id, len(found), missed)
		}
		if found, missed := reader.Newest(2); len(found) != 0 || missed != 0 {
			t.Errorf("once more: %d found, %d missed", len(found), missed)
		}
	}
}

// TestTraceThatIsNotKeptCostsARecordNothing has the caller trace its asks, and busd make no spans.
//
//nolint:paralleltest // What other tests allocate would count.
func TestTraceThatIsNotKeptCostsARecordNothing(t *testing.T) {
	r := records.New()
	caller := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled})
	tr := &bus.Trace{
		Context: trace.ContextWithRemoteSpanContext(t.Context(), caller), TraceID: caller.TraceID(),
		Callback: subjects.UserMayCreateRoom.Declaration, Modules: make([]bus.ModuleTrace, 1),
	}
	for range 5000 { // Until memory for records is there.
		r.Observe(tr)
	}
	if n := testing.AllocsPerRun(100, func() { r.Observe(tr) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
