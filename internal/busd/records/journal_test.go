package records_test

import (
	"cmp"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/records"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestRecordsOutliveBusd(t *testing.T) {
	t.Parallel()
	nc := jetStream(t)
	const asks = 1500
	before := keep(t, nc, all)
	var ids []string
	for range asks {
		ids = append(ids, observe(t, before.Recorder, 1))
	}
	before.Close()

	after := keep(t, nc, all)
	if record, found := find(t, after.Recorder, ids[7]); !found || record.ID != ids[7] || record.Outcome != decision.Refused {
		t.Errorf("found %v, %+v", found, record)
	}
	if _, found := find(t, after.Recorder, ids[7]+"zzz"); found {
		t.Error("found a record that there never was")
	}
	ids = append(ids, observe(t, after.Recorder, 1))
	eventually(t, "the last is written, too", func() bool { return recorded(t, nc) == asks+1 })
	if got := after.history(decision.Filter{}); !slices.Equal(got, ids) {
		t.Errorf("history has %d of %d records, or in another order", len(got), len(ids))
	}
	last, err := after.Last(t.Context(), decision.Filter{Outcomes: []string{decision.Refused}, Since: time.Now().Add(-time.Hour)}, asks)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range slices.Backward(last) {
		got = append(got, r.ID)
	}
	if !slices.Equal(got, ids[1:]) {
		t.Errorf("%d records are the last %d, or in another order", len(got), asks)
	}
	if got := after.history(decision.Filter{Outcomes: []string{decision.Failed}}); len(got) > 0 {
		t.Errorf("%d records failed", len(got))
	}
}

// TestReadingTheLastHoldsFewRecords reads the few newest of a part of the stream that is long.
func TestReadingTheLastHoldsFewRecords(t *testing.T) {
	t.Parallel()
	k := keep(t, jetStream(t), all)
	const asks, most = 400, 10
	var ids []string
	for range asks {
		ids = append(ids, observe(t, k.Recorder, 1))
	}
	k.Close()
	found, err := k.Between(t.Context(), 1, asks, most)
	if err != nil || len(found) < most || len(found) > 2*most {
		t.Fatalf("%d are held: %v", len(found), err)
	}
	for i, r := range found {
		if want := ids[asks-len(found)+i]; r.ID != want {
			t.Errorf("record %d is %s, want %s", i, r.ID, want)
		}
	}
}

// TestRecordsOfOneMomentAreOneMessage has two outcomes in one moment, and among them a record as busd wrote it before: each in a message
// of its own.
func TestRecordsOfOneMomentAreOneMessage(t *testing.T) {
	t.Parallel()
	nc := jetStream(t)
	k := keep(t, nc, config.Decisions{})
	k.Configure(all)
	eventually(t, "there is a stream", func() bool { return stream(t, nc) != nil })
	const before = `{"id":"d-0mx065z63bc23xq1","time":"2026-11-28T08:48:00.123Z","callback":"spam_checker.user_may_create_room","outcome":"refused","modules":[]}`
	if _, err := streams(t, nc).Publish(t.Context(), subjects.For("example.com").Decision("refused", "spam_checker.user_may_create_room"), []byte(before),
		jetstream.WithMsgID("d-0mx065z63bc23xq1")); err != nil {
		t.Fatal(err)
	}
	const asks = 500
	refused, failed := []string{"d-0mx065z63bc23xq1"}, []string{}
	for range asks {
		refused = append(refused, observe(t, k.Recorder, 1))
		failed = append(failed, observe(t, k.Recorder, 1, func(tr *bus.Trace) { tr.Outcome = bus.OutcomeFailed }))
	}
	k.Close()
	if info := stream(t, nc); info.State.Msgs > asks/10 || info.State.Bytes > asks*100 {
		t.Errorf("%d records are %d messages of %d bytes", 2*asks, info.State.Msgs, info.State.Bytes)
	}
	reading := keep(t, nc, all)
	for outcome, want := range map[string][]string{decision.Refused: refused, decision.Failed: failed} {
		if got := reading.history(decision.Filter{Outcomes: []string{outcome}}); !slices.Equal(got, want) {
			t.Errorf("%s: %d of %d, or in another order", outcome, len(got), len(want))
		}
		for _, id := range []string{want[0], want[1], want[len(want)-1]} {
			if r, found := find(t, reading.Recorder, id); !found || r.ID != id || r.Outcome != outcome {
				t.Errorf("%s: %v %+v", id, found, r)
			}
		}
	}
}

// TestRecordsOfOneMessageAreReadByTime has asks of two outcomes take turns: those of one moment are one message for each outcome.
func TestRecordsOfOneMessageAreReadByTime(t *testing.T) {
	t.Parallel()
	nc := jetStream(t)
	k := keep(t, nc, all)
	const asks, last = 200, 10
	var ids []string
	for i := range asks {
		ids = append(ids, observe(t, k.Recorder, 1, func(tr *bus.Trace) {
			tr.Start = tr.Start.Add(time.Duration(i-asks) * time.Second)
			tr.Outcome = []bus.Outcome{bus.OutcomeRefused, bus.OutcomeFailed}[i%2]
		}))
	}
	k.Close()
	after := keep(t, nc, all)
	if got := after.history(decision.Filter{}); !slices.Equal(got, ids) {
		t.Errorf("history has %d of %d records, or in another order", len(got), len(ids))
	}
	found, err := after.Last(t.Context(), decision.Filter{}, last)
	if err != nil || len(found) != last {
		t.Fatalf("%d records, %v", len(found), err)
	}
	for i, r := range found {
		if want := ids[asks-1-i]; r.ID != want {
			t.Errorf("place %d from the end has %s of %s, want %s", i, r.ID, r.Time, want)
		}
	}
}

// TestRecordWithoutModulesIsWrittenWithAnEmptyList has an ask that none of the modules registered for: each wants other keys.
func TestRecordWithoutModulesIsWrittenWithAnEmptyList(t *testing.T) {
	t.Parallel()
	nc := jetStream(t)
	k := keep(t, nc, all)
	id := observe(t, k.Recorder, 0)
	k.Close()
	if r, found := find(t, keep(t, nc, all).Recorder, id); !found || r.Modules == nil {
		t.Errorf("found %v: %+v", found, r)
	}
}

// TestManyLargeRecordsAreWrittenToAFarJetStream has more messages than may wait for JetStream at the same time, each of which waits longer
// than the client library waits for room.
func TestManyLargeRecordsAreWrittenToAFarJetStream(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, &server.Options{Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir()})
	home := &natstest.Home{Servers: []*server.Server{s}}
	nc, large := natstest.Connect(t, home), all
	large.Requests = true
	k := keep(t, natstest.Connect(t, home, nats.SetCustomDialer(farDialer{})), large)
	const asks = 300
	for range asks {
		observe(t, k.Recorder, 1, func(tr *bus.Trace) {
			tr.Request = &callbacksv1.UserMayCreateRoomRequest{UserId: strings.Repeat("a", 40<<10)}
		})
	}
	eventually(t, "they are written", func() bool { info := stream(t, nc); return info != nil && info.State.Msgs == asks })
	if k.log.Has("JetStream does not answer") {
		t.Error("the log says that JetStream does not answer")
	}
}

// farDialer connects to servers that are far away.
type farDialer struct{}

// Dial implements [nats.CustomDialer].
func (farDialer) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return farConn{c}, err
}

type farConn struct{ net.Conn }

// Read implements [io.Reader].
func (c farConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	<-time.After(300 * time.Millisecond)
	return n, err
}

// TestWhatIsNoRecordInTheStreamIsPassedOver has somebody else write there, as who may write to the stream can.
func TestWhatIsNoRecordInTheStreamIsPassedOver(t *testing.T) {
	t.Parallel()
	nc := jetStream(t)
	k := keep(t, nc, all)
	eventually(t, "there is a stream", func() bool { return stream(t, nc) != nil })
	subject := subjects.For("example.com").Decision("refused", "spam_checker.user_may_create_room")
	for _, data := range [][]byte{nil, []byte("{}"), []byte("no JSON"), {0xff, 0xff, 0xff, 0xff, 0x0f, 0}, s2.Encode(nil, make([]byte, 1<<20))} {
		for _, header := range []nats.Header{nil, {"Modulebus-Decisions": {"d-1 d-2"}}} {
			if _, err := streams(t, nc).PublishMsg(t.Context(), &nats.Msg{Subject: subject, Data: data, Header: header}); err != nil {
				t.Fatal(err)
			}
		}
	}
	id := observe(t, k.Recorder, 1)
	k.Close()
	if got := keep(t, nc, all).history(decision.Filter{}); !slices.Equal(got, []string{id}) {
		t.Errorf("history has %q, want %s", got, id)
	}
}

func TestOneOfManySilentRecordsIsWritten(t *testing.T) {
	t.Parallel()
	nc := jetStream(t)
	some := all
	some.NoOpinion = 100
	k := keep(t, nc, some)
	if got := k.Kept(); !strings.HasSuffix(got, "those of the last 1h in JetStream, but of those in which no module said anything one in 100") {
		t.Error(got)
	}
	for range 250 {
		observe(t, k.Recorder, 2, silent)
	}
	for _, outcome := range []bus.Outcome{bus.OutcomeRefused, bus.OutcomeFailed, bus.OutcomeAnswered} {
		observe(t, k.Recorder, 1, func(tr *bus.Trace) { tr.Outcome = outcome })
	}
	observe(t, k.Recorder, 2, silent, func(tr *bus.Trace) { tr.Modules[1].Said = bus.SaidFailure })
	k.Close()
	if got := recorded(t, nc); got != 3+4 {
		t.Errorf("%d are written", got)
	}
}

func TestRecordsWaitForJetStreamAndThoseTooManyAreCounted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := natstest.Start(t, &server.Options{})
	nc := natstest.Connect(t, &natstest.Home{Servers: []*server.Server{s}})
	k := keep(t, nc, all)
	eventually(t, "the log says what is wrong", func() bool { return k.log.Has("JetStream is not enabled on this NATS") })
	if up := k.measured("modulebus_decisions_stream_up"); up != 0 {
		t.Errorf("the stream is up: %v", up)
	}
	if _, err := k.History(t.Context(), decision.Filter{}); err == nil || !strings.Contains(err.Error(), "JetStream is not enabled") {
		t.Errorf("history: %v", err)
	}
	const asks, fit = 5000, 4096
	var last string
	for range asks {
		last = observe(t, k.Recorder, 1)
	}
	if _, found := find(t, k.Recorder, last); !found {
		t.Error("what is in memory is not found while JetStream is away")
	}
	if err := s.EnableJetStream(&server.JetStreamConfig{StoreDir: dir}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they are written", func() bool { return recorded(t, nc) == fit })
	eventually(t, "the log says so", func() bool { return k.log.Has("written to JetStream again") })
	if lost := k.measured("modulebus_decisions_lost_total"); lost != asks-fit {
		t.Errorf("%v are lost", lost)
	}
}

// TestStreamThatNobodyAnswersForMayHaveFullDisks has the error of a cluster of which too few servers can write.
func TestStreamThatNobodyAnswersForMayHaveFullDisks(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{jetstream.ErrNoStreamResponse: true, jetstream.ErrStreamNotFound: false} {
		if text := records.Explained(subjects.For("example.com"), err).Error(); strings.Contains(text, "whether their disks are full") != want {
			t.Errorf("%v: %s", err, text)
		}
	}
}

func TestStreamThatIsGoneIsMadeAgain(t *testing.T) {
	t.Parallel()
	nc := jetStream(t)
	k := keep(t, nc, all)
	eventually(t, "there is a stream", func() bool { return stream(t, nc) != nil })
	name := subjects.For("example.com").DecisionStream()
	if err := streams(t, nc).DeleteStream(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if _, err := k.History(t.Context(), decision.Filter{}); err == nil || !strings.Contains(err.Error(), "stream "+name+" is not there") {
		t.Errorf("history: %v", err)
	}
	observe(t, k.Recorder, 1)
	eventually(t, "the record is written", func() bool { info := stream(t, nc); return info != nil && info.State.Msgs == 1 })
}

// TestRecordsAreWrittenAfterAnswersWereLost has a stream that takes records and says nothing, as one whose server ends before it
// answers.
func TestRecordsAreWrittenAfterAnswersWereLost(t *testing.T) {
	t.Parallel()
	nc, c := jetStream(t), silentStream()
	if _, err := streams(t, nc).CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var sent sync.Map
	var again atomic.Bool
	hear := func(m *nats.Msg) {
		if _, before := sent.LoadOrStore(m.Header.Get(jetstream.MsgIDHeader), true); before {
			again.Store(true)
		}
	}
	if _, err := nc.Subscribe(c.Subjects[0], hear); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	k := keep(t, nc, config.Decisions{})
	k.Configure(all)
	const asks = 128 // As many as are written at once, and again.
	for range asks {
		observe(t, k.Recorder, 1)
	}
	eventually(t, "it is tried again", again.Load)
	eventually(t, "the log says so", func() bool { return k.log.Has("JetStream does not answer") })
	c.NoAck = false
	if _, err := streams(t, nc).UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they are written", func() bool { return k.log.Has("written to JetStream again") })
}

func TestStreamOfSomebodyElseIsLeftAlone(t *testing.T) {
	t.Parallel()
	at := subjects.For("example.com")
	for name, c := range map[string]jetstream.StreamConfig{
		"was made by somebody else": {Name: at.DecisionStream(), Subjects: []string{"else"}},
		"a stream of somebody else": {Name: "else", Subjects: []string{at.Decision("refused", "*")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := jetStream(t)
			if _, err := streams(t, nc).CreateStream(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			k := keep(t, nc, all)
			observe(t, k.Recorder, 1)
			eventually(t, "the log says so", func() bool { return k.log.Has(name) })
			s, err := streams(t, nc).Stream(t.Context(), c.Name)
			if err != nil {
				t.Fatal(err)
			}
			if info := s.CachedInfo(); info.State.Msgs > 0 || !slices.Equal(info.Config.Subjects, c.Subjects) {
				t.Errorf("it has %d messages of %v", info.State.Msgs, info.Config.Subjects)
			}
		})
	}
}

func TestStreamIsAsLargeAndAsOldAsIsWantedNow(t *testing.T) {
	t.Parallel()
	nc := jetStream(t)
	k := keep(t, nc, config.Decisions{})
	observe(t, k.Recorder, 1)
	for n, c := range []config.Decisions{all, {Stream: true, Keep: time.Minute, MaxBytes: 1 << 20, NoOpinion: 1}} {
		k.Configure(c)
		observe(t, k.Recorder, 1)
		eventually(t, "it is as is wanted", func() bool {
			info := stream(t, nc)
			return info != nil && info.Config.MaxAge == c.Keep && info.Config.MaxBytes == c.MaxBytes && recorded(t, nc) == n+1
		})
	}
	k.Configure(config.Decisions{})
	observe(t, k.Recorder, 1)
	k.Close()
	if got := recorded(t, nc); got != 2 {
		t.Errorf("%d are written, with those from when no stream was wanted", got)
	}
}

// TestStreamThatIsFullKeepsTheNewest has more records than max_bytes has room for.
func TestStreamThatIsFullKeepsTheNewest(t *testing.T) {
	t.Parallel()
	nc, small := jetStream(t), all
	small.MaxBytes = 64 << 10
	k := keep(t, nc, small)
	first, last := "", ""
	for first == "" || stream(t, nc).State.FirstSeq <= 1 {
		last = observe(t, k.Recorder, 1, func(tr *bus.Trace) { tr.Modules[0].Text, tr.Modules[0].Failure = nuid.Next(), 1 })
		first = cmp.Or(first, last)
		eventually(t, "there is a stream", func() bool { return stream(t, nc) != nil })
	}
	k.Close()
	after := keep(t, nc, small)
	if _, found := find(t, after.Recorder, last); !found || k.measured("modulebus_decisions_lost_total") != 0 {
		t.Errorf("the last is found: %v; lost: %v", found, k.measured("modulebus_decisions_lost_total"))
	}
	if _, found := find(t, after.Recorder, first); found || stream(t, nc).State.Bytes > uint64(small.MaxBytes) {
		t.Errorf("the first is found: %v, in %d bytes", found, stream(t, nc).State.Bytes)
	}
}

// TestStreamThatHasNoRoomIsSaid has JetStream have less room than decisions.max_bytes, until the operator says less.
func TestStreamThatHasNoRoomIsSaid(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 20})
	nc := natstest.Connect(t, &natstest.Home{Servers: []*server.Server{s}})
	k := keep(t, nc, all)
	id := observe(t, k.Recorder, 1)
	eventually(t, "the log says so", func() bool { return k.log.Has("JetStream has no room for decisions.max_bytes: make room, or say less") })
	if _, found := find(t, k.Recorder, id); !found || k.measured("modulebus_decisions_stream_up") != 0 {
		t.Errorf("found %v, up %v", found, k.measured("modulebus_decisions_stream_up"))
	}
	less := all
	less.MaxBytes = 512 << 10
	k.Configure(less)
	eventually(t, "it is written", func() bool { return recorded(t, nc) == 1 })
}

func TestRecordsAreKeptOnThreeNodes(t *testing.T) {
	t.Parallel()
	home := natstest.Configured(t, "")
	k := keep(t, natstest.Connect(t, home), all)
	id := observe(t, k.Recorder, 1)
	reading := natstest.Connect(t, home)
	eventually(t, "the record is written", func() bool { info := stream(t, reading); return info != nil && info.State.Msgs == 1 })
	info := stream(t, reading)
	if info.Config.Replicas != len(home.Servers) {
		t.Errorf("%d nodes have the stream", info.Config.Replicas)
	}
	for _, s := range home.Servers {
		if s.Name() == info.Cluster.Leader {
			s.Shutdown()
			s.WaitForShutdown()
		}
	}
	second := observe(t, k.Recorder, 1)
	eventually(t, "another is written without the node that led", func() bool {
		info := stream(t, reading)
		return info != nil && info.State.Msgs == 2
	})
	k.Close()
	if got := keep(t, reading, all).history(decision.Filter{}); !slices.Equal(got, []string{id, second}) {
		t.Errorf("history has %v, want %s and %s", got, id, second)
	}
}

// TestStreamThatIsNotWantedIsNotDown has records in JetStream be given up while it is away: an alert would never end.
func TestStreamThatIsNotWantedIsNotDown(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, &natstest.Home{Servers: []*server.Server{natstest.Start(t, &server.Options{})}})
	k := keep(t, nc, all)
	eventually(t, "the stream is down", func() bool { return k.measured("modulebus_decisions_stream_up") == 0 })
	k.Configure(config.Decisions{})
	if up := k.measured("modulebus_decisions_stream_up"); up != 1 {
		t.Errorf("the stream is up: %v", up)
	}
}

// TestLastTellsWhatIsInMemoryThoughJetStreamIsAway is for who looks because JetStream is away.
func TestLastTellsWhatIsInMemoryThoughJetStreamIsAway(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, &natstest.Home{Servers: []*server.Server{natstest.Start(t, &server.Options{})}})
	k := keep(t, nc, all)
	id := observe(t, k.Recorder, 1)
	found, err := k.Last(t.Context(), decision.Filter{}, 10)
	if err == nil || len(found) != 1 || found[0].ID != id {
		t.Errorf("%v, %v", found, err)
	}
}

// A clock may jump between two asks, by days and in both directions, or go half a minute before JetStream's. Each record is found by its
// ID and by its time, in memory and in the stream.
func TestClockThatJumpsLosesNoRecord(t *testing.T) {
	t.Parallel()
	nc := jetStream(t)
	first, now := keep(t, nc, all), time.Now()
	var ids []string
	for _, by := range []time.Duration{0, -48 * time.Hour, 48 * time.Hour, 30 * time.Second} {
		ids = append(ids, observe(t, first.Recorder, 1, func(tr *bus.Trace) { tr.Start = now.Add(by) }))
	}
	eventually(t, "all are in the stream", func() bool { return recorded(t, nc) == len(ids) })
	second := keep(t, nc, all)
	for name, k := range map[string]*kept{"in memory": first, "in the stream": second} {
		for i, id := range ids {
			if r, found := find(t, k.Recorder, id); !found || r.ID != id {
				t.Errorf("%s, record %d is not found", name, i)
			}
		}
		if got := k.history(decision.Filter{}); !slices.Equal(got, ids) {
			t.Errorf("%s, history is %v, not %v", name, got, ids)
		}
		since := decision.Filter{Since: now.Add(10 * time.Second)}
		if got := k.history(since); !slices.Equal(got, ids[2:]) {
			t.Errorf("%s, since ten seconds from now: %v", name, got)
		}
		if last, err := k.Last(t.Context(), since, 10); err != nil || len(last) != 2 {
			t.Errorf("%s, the last since then are %d: %v", name, len(last), err)
		}
	}
}
