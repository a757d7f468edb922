package news_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/news"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestNewsReachesAModuleThatWasAwayInOrder(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	busd := s.busd(archive(nil))
	for i := range 100 {
		s.store("@a:example.com", i)
		s.store("@b:example.com", i)
	}
	s.until("the backlog is shown", func() bool {
		b := busd.Backlogs()["archive"]
		return b.News == 200 && !b.Oldest.IsZero() && b.Failure == "third_party_rules.on_profile_update: absent"
	})
	m := s.module(nil)
	s.until("all is handled", s.drained)
	for _, user := range []string{"@a:example.com", "@b:example.com"} {
		if got := m.names(user); !slices.Equal(got, counted(100)) {
			t.Errorf("%s: %q", user, got)
		}
	}
	ids := map[string]bool{}
	for _, p := range m.all() {
		ids[p.id] = true
	}
	if len(ids) != 200 || ids[""] {
		t.Errorf("200 pieces of news have %d names", len(ids))
	}
	s.until("no backlog is shown", func() bool {
		b := busd.Backlogs()["archive"]
		return b.News == 0 && b.Failure == "" && b.Handled == 200
	})
}

func TestNewsThatWasRefusedIsToldAgainAndHoldsUpOnlyItsUser(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	busd := s.busd(archive(nil))
	refusals := 2
	m := s.module(func(p piece) bool {
		if p.user != "@a:example.com" || refusals == 0 {
			return false
		}
		refusals--
		return true
	})
	s.store("@a:example.com", 0)
	s.store("@a:example.com", 1)
	s.store("@b:example.com", 0)
	s.until("the failure is shown", func() bool {
		return busd.Backlogs()["archive"].Failure == "third_party_rules.on_profile_update: error: not now"
	})
	s.until("another user's news is handled", func() bool { return slices.Equal(m.names("@b:example.com"), counted(1)) })
	s.until("all is handled", s.drained)
	if got, want := m.names("@a:example.com"), []string{"0", "0", "0", "1"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	ids := map[string]int{}
	for _, p := range m.all() {
		ids[p.id]++
	}
	if len(ids) != 3 || slices.Max(slices.Collect(func(yield func(int) bool) {
		for _, n := range ids {
			if !yield(n) {
				return
			}
		}
	})) != 3 {
		t.Errorf("the same news does not have the same name each time: %v", ids)
	}
}

func TestNewsThatAModuleDoesNotListenForHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	if err := s.stored(archive(nil)); err != nil {
		t.Fatal(err)
	}
	const unheard = 1500
	for i := range unheard {
		s.keep(subjects.OnUserDeactivationStatusChanged, &callbacksv1.OnUserDeactivationStatusChangedRequest{UserId: fmt.Sprintf("@user%d:example.com", i)})
	}
	m := s.module(nil)
	s.roster.change(&rosterv1.Module{Workers: []string{"w"}, Callbacks: []*rosterv1.Interest{{Callback: subjects.OnProfileUpdate.FullName()}}})
	s.store("@a:example.com", 0)
	s.busd(archive(nil))
	s.until("what it listens for is handled", func() bool { return slices.Equal(m.names("@a:example.com"), counted(1)) && s.kept() == unheard })
}

func TestNewsThatDoesNotFitInMemoryIsToldInOrder(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.busd(archive(nil))
	const pieces = 30
	big := strings.Repeat("x", 900<<10)
	for i := range pieces {
		s.keep(subjects.OnProfileUpdate, &callbacksv1.OnProfileUpdateRequest{
			UserId: "@a:example.com", NewProfile: &callbacksv1.ProfileInfo{DisplayName: new(strconv.Itoa(i)), AvatarUrl: &big},
		})
	}
	m := s.module(nil)
	s.until("all is handled", s.drained)
	if got := m.names("@a:example.com"); !slices.Equal(got, counted(pieces)) {
		t.Errorf("told %q", got)
	}
}

// growing is news that takes so many bytes, and six times as many in JSON.
func growing(size int) *callbacksv1.OnProfileUpdateRequest {
	return &callbacksv1.OnProfileUpdateRequest{
		UserId: "@a:example.com", NewProfile: &callbacksv1.ProfileInfo{DisplayName: new(strings.Repeat("\x01", size))},
	}
}

func TestNewsThatIsLargerInJSONIsReadInPieces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		maxPayload int32
		size       int
	}{"than a message": {0, 300 << 10}, "than a message that is smaller than a piece": {64 << 10, 40 << 10}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stageOn(t, &server.Options{MaxPayload: c.maxPayload}).readsInPieces(growing(c.size))
		})
	}
}

func (s *stage) readsInPieces(news *callbacksv1.OnProfileUpdateRequest) {
	s.Helper()
	busd := s.busd(archive(nil))
	read := make(chan string, 1)
	_, err := s.nc.QueueSubscribe(at.Callback(subjects.OnProfileUpdate, "archive"), "archive", func(q *nats.Msg) {
		req := &callbacksv1.OnProfileUpdateRequest{}
		if wire.Decode(s.pulled(q), wire.JSON, req) == nil {
			select {
			case read <- req.GetNewProfile().GetDisplayName():
			default: // It is told again what it took too long to read.
			}
		}
		_ = q.Respond(nil)
	})
	if err != nil {
		s.Fatal(err)
	}
	s.roster.change(&rosterv1.Module{Json: true})
	s.keep(subjects.OnProfileUpdate, news)
	s.until("a module that does not pull fails, and why", func() bool {
		return strings.Contains(busd.Backlogs()["archive"].Failure, "reads large questions in pieces")
	})
	s.roster.change(&rosterv1.Module{Json: true, Pulls: true})
	s.until("one that pulls has handled it", s.drained)
	if got := <-read; got != news.GetNewProfile().GetDisplayName() {
		s.Errorf("it read %d bytes", len(got))
	}
}

func TestPieceOfNewsIsSentToItsModuleAlone(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.roster.change(&rosterv1.Module{Json: true, Pulls: true})
	s.busd(archive(nil))
	elsewhere, err := s.nc.SubscribeSync(at.Join("other"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.nc.QueueSubscribe(at.Callback(subjects.OnProfileUpdate, "archive"), "archive", func(q *nats.Msg) {
		read := &nats.Msg{Subject: q.Header.Get(wire.HeaderQuestion), Reply: at.Join("other"), Header: wire.JSON.Header(), Data: []byte(`{"length": 100}`)}
		_ = s.nc.PublishMsg(read)
		if len(s.pulled(q)) > 0 { // What was asked for before is answered by now.
			_ = q.Respond(nil)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s.keep(subjects.OnProfileUpdate, growing(300<<10))
	s.until("it is handled", s.drained)
	if n, _, _ := elsewhere.Pending(); n > 0 {
		t.Error("busd sends a module's news where the module may send nothing")
	}
}

// pulled is the payload of a question that is elsewhere.
func (s *stage) pulled(q *nats.Msg) (whole []byte) {
	size, _ := strconv.Atoi(q.Header.Get(wire.HeaderQuestionSize)) // Without, there is nothing to read.
	for len(whole) < size {
		read := fmt.Appendf(nil, `{"offset": "%d", "length": 1000000}`, len(whole))
		m, err := s.nc.RequestMsg(&nats.Msg{Subject: q.Header.Get(wire.HeaderQuestion), Header: wire.JSON.Header(), Data: read}, patience)
		if err != nil || len(m.Data) == 0 {
			return nil
		}
		whole = append(whole, m.Data...)
	}
	return whole
}

func TestFailureOfNewsRepeatsNoAddress(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	busd := s.busd(archive(nil))
	_, err := s.nc.QueueSubscribe(at.Callback(subjects.OnAddUserThirdPartyIdentifier, "archive"), "archive", func(q *nats.Msg) {
		req := &callbacksv1.OnAddUserThirdPartyIdentifierRequest{}
		_ = wire.DecodeMessage(q, req)
		_ = q.RespondMsg(&nats.Msg{Header: (&wire.Failure{Kind: rosterv1.FailureKind_ERROR, Text: "cannot mail " + req.GetAddress()}).Header()})
	})
	if err != nil {
		t.Fatal(err)
	}
	s.keep(subjects.OnAddUserThirdPartyIdentifier, &callbacksv1.OnAddUserThirdPartyIdentifierRequest{
		UserId: "@a:example.com", Medium: "email", Address: "alice@example.org",
	})
	failure := ""
	s.until("it failed", func() bool {
		failure = busd.Backlogs()["archive"].Failure
		return strings.Contains(failure, "cannot mail")
	})
	if want := "third_party_rules.on_add_user_third_party_identifier: error: cannot mail [redacted]"; failure != want {
		t.Errorf("the failure is %q, want %q", failure, want)
	}
}

func TestNewsIsToldByOneBusdAndThenByTheOther(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	one := s.busd(archive(nil))
	s.until("one has made the consumer", func() bool {
		stream, err := s.js.Stream(t.Context(), at.NewsStream("archive"))
		return err == nil && stream.CachedInfo().State.Consumers == 1
	})
	other := s.busd(archive(nil))
	m := s.module(nil)
	s.store("@a:example.com", 0)
	s.until("it is handled", s.drained)
	if n := other.Backlogs()["archive"].Handled; n != 0 {
		t.Errorf("the other busd told %d pieces meanwhile", n)
	}
	one.Close()
	s.store("@a:example.com", 1)
	s.until("the other has told it", func() bool { return other.Backlogs()["archive"].Handled == 1 })
	if got := m.names("@a:example.com"); !slices.Equal(got, counted(2)) {
		t.Errorf("told %q", got)
	}
}

func TestNewsIsToldAfterATermThatCouldNotBeEnded(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	busd := s.prepared(natstest.Connect(t, s.home), archive(nil))
	s.store("@a:example.com", 0)
	left, err := s.js.CreateConsumer(t.Context(), at.NewsStream("archive"), busd.Consumer())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := left.Next(); err != nil { // Taken out, and not handled.
		t.Fatal(err)
	}
	m := s.module(nil)
	busd.Start(s.roster.await, archive(nil))
	s.until("it is handled", s.drained)
	if got := m.names("@a:example.com"); !slices.Equal(got, counted(1)) {
		t.Errorf("told %q", got)
	}
}

func TestNewsIsToldInTheMappingThatTheModuleWants(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.busd(archive(nil))
	got := make(chan *nats.Msg, 16)
	if _, err := s.nc.ChanQueueSubscribe(at.Callback(subjects.OnProfileUpdate, "archive"), "archive", got); err != nil {
		t.Fatal(err)
	}
	s.roster.change(&rosterv1.Module{Json: true})
	s.store("@a:example.com", 7)
	for {
		select {
		case m := <-got:
			var req struct {
				UserID string `json:"user_id"`
			}
			if wire.MappingOf(m) == wire.Binary { // Told before the roster was known.
				continue
			}
			if err := json.Unmarshal(m.Data, &req); err != nil || req.UserID != "@a:example.com" {
				t.Errorf("%v: %s", err, m.Data)
			}
			_ = m.Respond(nil)
			return
		case <-time.After(patience):
			t.Fatal("nothing was told")
		}
	}
}

func TestNewsThatIsTooOldIsGivenUpAndCounted(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	short := archive(func(m *config.Module) { m.DeliverFor = time.Nanosecond })
	busd := s.busd(short)
	s.store("@a:example.com", 0)
	s.until("it is given up", func() bool { return busd.Backlogs()["archive"].GivenUp == 1 })
	s.until("it is gone", s.drained)
}

func TestNewsIsToldAfterTheOperatorWantsNoneStored(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	if err := s.stored(archive(nil)); err != nil {
		t.Fatal(err)
	}
	s.store("@a:example.com", 0)
	s.busd(archive(func(m *config.Module) { m.AtLeastOnce = false }))
	m := s.module(nil)
	s.until("it is handled", s.drained)
	if got := m.names("@a:example.com"); !slices.Equal(got, counted(1)) {
		t.Errorf("told %q", got)
	}
}

func TestNewsIsToldAfterAChangeOfTheListWithoutNATS(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	nc := natstest.Connect(t, s.home)
	busd := s.prepared(nc, archive(nil))
	busd.Start(s.roster.await, archive(nil))
	nc.Close()
	busd.Configure(archive(func(m *config.Module) { m.AtLeastOnce = false }))
	if _, told := busd.Backlogs()["archive"]; !told {
		t.Error("what was stored before is told no more")
	}
	busd.Configure(nil)
	if all := busd.Backlogs(); len(all) > 0 {
		t.Errorf("of what is not listed: %v", all)
	}
}

// stored only prepares.
func (s *stage) stored(modules []config.Module) error {
	s.Helper()
	service, err := news.New(news.Options{Conn: s.nc, ServerName: serverName, Log: zerolog.Nop()})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(service.Close)
	return service.Prepare(s.Context(), modules)
}

func TestNewsNeedsAStreamOfItsOwn(t *testing.T) {
	t.Parallel()
	for name, foreign := range map[string]jetstream.StreamConfig{
		"other subjects":    {Subjects: []string{"mine"}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew},
		"another policy":    {Subjects: []string{at.NewsAny("archive")}},
		"trims what is old": {Subjects: []string{at.NewsAny("archive")}, Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, MaxAge: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			foreign.Name = at.NewsStream("archive")
			if _, err := s.js.CreateStream(t.Context(), foreign); err != nil {
				t.Fatal(err)
			}
			err := s.stored(archive(nil))
			if err == nil || !strings.Contains(err.Error(), "the JetStream stream modulebus-news-example_2Ecom-archive is somebody else's") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNewsNeedsJetStream(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.InProcess(t))
	service, err := news.New(news.Options{Conn: nc, ServerName: serverName, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	err = service.Prepare(t.Context(), archive(nil))
	if err == nil || !strings.Contains(err.Error(), "module archive: deliver: at_least_once needs JetStream, and this NATS does not have it") {
		t.Errorf("got %v", err)
	}
	if err := service.Prepare(t.Context(), archive(func(m *config.Module) { m.AtLeastOnce = false })); err != nil {
		t.Errorf("a module that wants none: %v", err)
	}
}
