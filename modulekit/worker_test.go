package modulekit

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/roster"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestWorkerAnswersInEitherMapping(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "gate"})
	r := run(b, gate(func(_ context.Context, req *create) (*created, error) {
		switch req.GetUserId() {
		case "@panics:x":
			panic("secret")
		case "@fails:x":
			return nil, errNo
		case "@large:x":
			return &created{Refusal: Refuse("M_LARGE", strings.Repeat("x", 2<<20))}, nil
		case "@nobody:x":
			return nil, nil
		}
		return &created{Refusal: Refuse("M_NO", "no")}, nil
	}), Options{Module: "gate"})
	b.joined("gate", 1)
	for _, in := range []wire.Mapping{wire.Binary, wire.JSON} {
		for user, want := range map[string]string{
			"@a:x": "M_NO", "@nobody:x": "", "@fails:x": "error: no", "@panics:x": "panic: see the module's log",
			"@large:x": "error: the answer of 2097",
		} {
			m := b.create("gate", user, in)
			got := ""
			if len(m.Data)+len(m.Header) > 0 && user != "@nobody:x" {
				got = errcode(t, m)
			}
			if !strings.HasPrefix(got, want) || (got == "") != (want == "") {
				t.Errorf("%s, JSON %v: got %q, want %q", user, in, got, want)
			}
		}
		m, err := b.nc.RequestMsg(&nats.Msg{Subject: b.subject("gate"), Header: in.Header(), Data: []byte("\xff")}, longEnough)
		if err != nil || wire.FailureOf(m).Kind != rosterv1.FailureKind_MALFORMED {
			t.Errorf("garbage, JSON %v: got %v, %v", in, m, err)
		}
	}
	r.says("secret")
}

func TestWorkerRefusesRawJSONThatIsNone(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "gate"})
	run(b, gate(refuses("M_NO")), Options{Module: "gate"})
	b.joined("gate", 1)
	req := &create{UserId: "@a:x", RoomConfig: []byte("[]")}
	if f := wire.FailureOf(b.ask(b.subject("gate"), req, wire.Binary)); f == nil || f.Kind != rosterv1.FailureKind_MALFORMED {
		t.Errorf("got %v", f)
	}
}

func TestWorkerSaysBusyBeyondItsConcurrency(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "gate"})
	begun, finish := make(chan struct{}), make(chan struct{})
	run(b, gate(func(context.Context, *create) (*created, error) {
		close(begun)
		<-finish
		return nil, nil
	}), Options{Module: "gate", Concurrency: 1})
	b.joined("gate", 1)
	if err := b.nc.PublishRequest(b.subject("gate"), b.nc.NewInbox(), nil); err != nil {
		t.Fatal(err)
	}
	<-begun
	if got := errcode(t, b.create("gate", "@a:x", wire.Binary)); got != "busy: 1 requests are under way" {
		t.Errorf("got %q", got)
	}
	close(finish)
}

func TestWorkerEndsTheContextOfACancelledRequest(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "gate"})
	begun, ended := make(chan struct{}), make(chan error)
	run(b, gate(func(ctx context.Context, _ *create) (*created, error) {
		close(begun)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}), Options{Module: "gate"})
	b.joined("gate", 1)
	inbox := b.nc.NewInbox()
	if err := b.nc.PublishRequest(b.subject("gate"), inbox, nil); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := b.nc.Publish(subjects.For(serverName).Cancel("gate"), []byte(inbox)); err != nil {
		t.Fatal(err)
	}
	wantErr(t, <-ended, context.Canceled)
}

func TestWorkerIsLateByItsEntry(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "gate", Timeout: time.Millisecond})
	run(b, gate(func(ctx context.Context, _ *create) (*created, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}), Options{Module: "gate"})
	b.joined("gate", 1)
	if got := errcode(t, b.create("gate", "@a:x", wire.Binary)); got != "timeout: context deadline exceeded" {
		t.Errorf("got %q", got)
	}
}

type codes struct {
	Errcode string `json:"errcode"`
	Wait    bool   `json:"wait"`
}

// configured is a module whose refusal, and whose callbacks, its configuration says.
func configured() Module[codes] {
	return Module[codes]{New: func(c codes, api *ModuleAPI) error {
		callbacks := SpamCheckerCallbacks{UserMayCreateRoom: refuses(c.Errcode)}
		if c.Errcode == "M_OTHER" {
			callbacks = SpamCheckerCallbacks{UserMayInvite: func(context.Context, *callbacksv1.UserMayInviteRequest) (*callbacksv1.UserMayInviteResponse, error) {
				return nil, nil
			}}
		}
		if c.Wait {
			return errNo
		}
		api.RegisterSpamCheckerCallbacks(callbacks)
		return nil
	}}
}

func (b *busd) reconfigure(name, text string) {
	b.service.Changed(b.configure(config.Module{Name: name, Config: json.RawMessage(text)}))
}

func TestModuleTakesOverItsNewConfiguration(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "gate", Config: json.RawMessage(`{"errcode":"M_ONE"}`)})
	r := run(b, configured(), Options{Module: "gate"})
	b.joined("gate", 1)
	is := func(want string) {
		t.Helper()
		waittest.Until(t, "the module refuses with "+want, func() bool { return errcode(t, b.create("gate", "@a:x", wire.Binary)) == want })
	}
	is("M_ONE")
	b.reconfigure("gate", `{"errcode":"M_TWO"}`)
	is("M_TWO")
	b.reconfigure("gate", `{"errcodes":"M_THREE"}`)
	r.says("the new configuration was refused")
	is("M_TWO") // The old one stays.
	b.reconfigure("gate", `{"errcode":"M_OTHER"}`)
	waittest.Until(t, "what only the old instance registered is let go", func() bool {
		_, err := b.nc.Request(b.subject("gate"), nil, longEnough)
		return err == nats.ErrNoResponders
	})
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestRunEndsWhenTheConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "gate", Config: json.RawMessage(`{"wait":true}`)})
	wantErr(t, Run(t.Context(), natstest.Connect(t, b.home), configured(), Options{ServerName: serverName, Module: "gate"}), errNo)
	shown := func(m roster.Status) bool { return strings.Contains(m.LastError, "no") }
	if modules := b.roster.Modules(); !slices.ContainsFunc(modules, shown) {
		t.Errorf("busd knows nothing of it: %v", modules)
	}
}

func TestRunNeedsAServerNameAModuleAndNew(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{"no server": {Module: "m"}, "no module": {ServerName: "s"}} {
		if err := Run(t.Context(), nil, gate(nil), o); err == nil || !strings.Contains(err.Error(), "are required") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := Run(t.Context(), nil, Module[int]{}, Options{ServerName: "s", Module: "m"}); err == nil || !strings.Contains(err.Error(), "has no New") {
		t.Errorf("got %v", err)
	}
}

func TestModuleWaitsForBusdAndForItsEntry(t *testing.T) {
	t.Parallel()
	home := natsWithStore(t)
	r := runOn(t, natstest.Connect(t, home), gate(refuses("M_NO")), Options{Module: "gate"})
	r.says("busd does not answer for example.com")
	b := busdOn(t, home)
	r.says("the roster does not list this module")
	b.reconfigure("gate", `{}`)
	b.joined("gate", 1)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func TestModuleThatIsStoppedBeforeItHasAnEntrySaysSo(t *testing.T) {
	t.Parallel()
	r := runOn(t, natstest.Connect(t, natstest.InProcess(t)), gate(refuses("M_NO")), Options{Module: "gate"})
	r.says("busd does not answer")
	if err := r.stop(); err == nil || !strings.Contains(err.Error(), "before it had an entry") {
		t.Errorf("got %v", err)
	}
}

func TestDrainFinishesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "gate"})
	begun, finish := make(chan struct{}), make(chan struct{})
	r := run(b, gate(func(context.Context, *create) (*created, error) {
		close(begun)
		<-finish
		return &created{Refusal: Refuse("M_NO", "")}, nil
	}), Options{Module: "gate"})
	b.joined("gate", 1)
	answer := make(chan *nats.Msg, 1)
	go func() {
		m, _ := b.nc.Request(b.subject("gate"), nil, longEnough)
		answer <- m
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	waittest.Until(t, "the worker leaves", func() bool { return len(b.roster.Snapshot().GetModules()[0].GetWorkers()) == 0 })
	close(finish)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if got := errcode(t, <-answer); got != "M_NO" {
		t.Errorf("got %q", got)
	}
}

// Who asks by name hears of a worker's end only after busd has, and NATS's servers drop what is asked on a name that they know no more.
func TestWorkerThatLeavesAnswersThoseWhoHaveNotHeard(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "gate"})
	r := run(b, gate(func(context.Context, *create) (*created, error) {
		return &created{Refusal: Refuse("M_NO", "")}, nil
	}), Options{Module: "gate", Worker: "w"})
	b.joined("gate", 1)
	server := subjects.For(serverName)
	b.service.Close() // The worker leaves when this test says so.
	leaves, err := b.nc.SubscribeSync(server.Leave("gate"))
	if err == nil {
		err = b.nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	leave, err := leaves.NextMsg(longEnough)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := b.nc.Request(server.Worker(subjects.UserMayCreateRoom.Declaration, "gate", "w"), nil, longEnough)
	if err != nil {
		t.Fatal("it was asked by name before busd had answered: ", err)
	}
	if got := errcode(t, answer); got != "M_NO" {
		t.Errorf("got %q", got)
	}
	if err := errors.Join(leave.Respond(nil), <-stopped); err != nil {
		t.Error(err)
	}
}

func TestDrainEndsTheContextOfWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "gate"})
	begun, forever := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(forever) })
	run := func(module string, answer func(context.Context, *create) (*created, error)) error {
		r := run(b, gate(answer), Options{Module: module, DrainTimeout: time.Millisecond})
		b.joined(module, 1)
		if err := b.nc.PublishRequest(b.subject(module), b.nc.NewInbox(), nil); err != nil {
			t.Fatal(err)
		}
		<-begun
		return r.stop()
	}
	if err := run("gate", func(ctx context.Context, _ *create) (*created, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}); err != nil {
		t.Error(err)
	}
	b.configure(config.Module{Name: "deaf"})
	if err := run("deaf", func(context.Context, *create) (*created, error) {
		begun <- struct{}{}
		<-forever
		return nil, nil
	}); err == nil || !strings.Contains(err.Error(), "still under way") {
		t.Errorf("got %v", err)
	}
}

func TestDrainWaitsForALostFollowUpThatIsBeingTold(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "pacer"})
	told, finish := make(chan struct{}), make(chan struct{})
	var finished bool
	ready := make(chan *ModuleAPI, 1)
	pacer := Module[struct{}]{New: func(_ struct{}, api *ModuleAPI) error {
		api.RegisterPasswordAuthProviderCallbacks(PasswordAuthProviderCallbacks{
			Check3PidAuth: func(context.Context, *callbacksv1.Check3PidAuthRequest) (*callbacksv1.Check3PidAuthResponse, error) {
				return &callbacksv1.Check3PidAuthResponse{UserId: "@a:x", TellLogin: true}, nil
			},
			OnAuthCheckersLogin: func(context.Context, *callbacksv1.OnAuthCheckersLoginRequest) (*callbacksv1.OnAuthCheckersLoginResponse, error) {
				close(told)
				<-finish
				finished = true
				return nil, nil
			},
		})
		ready <- api
		return nil
	}}
	r := run(b, pacer, Options{Module: "pacer", Concurrency: 1})
	api := <-ready
	b.joined("pacer", 1)
	f := api.handlers[subjects.OnAuthCheckersLogin.Declaration].follow
	f.wait("token")
	f.lost("token") // As when its time is over.
	<-told
	check := subjects.For(serverName).Callback(subjects.Check3PidAuth.Declaration, "pacer")
	if got := wire.FailureOf(b.ask(check, &callbacksv1.Check3PidAuthRequest{}, wire.Binary)); got == nil || got.Kind != rosterv1.FailureKind_BUSY {
		t.Errorf("it does not count against the concurrency: %v", got)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	waittest.Until(t, "the worker leaves", func() bool { return len(b.roster.Snapshot().GetModules()[0].GetWorkers()) == 0 })
	close(finish)
	if err := <-stopped; err != nil || !finished {
		t.Errorf("ended before it was told: %v", err)
	}
}

func TestRunEndsWhenNATSIsGoneForGood(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "gate"})
	r := run(b, gate(refuses("M_NO")), Options{Module: "gate"})
	b.joined("gate", 1)
	r.nc.Close()
	<-r.ended
	wantErr(t, r.stop(), nats.ErrConnectionClosed)
	o := Options{ServerName: serverName, Module: "gate"}
	wantErr(t, Run(t.Context(), r.nc, gate(refuses("M_NO")), o), nats.ErrConnectionClosed)
}

func TestWorkerJoinsAgainWhenNATSIsBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: dir})
	home := &natstest.Home{Servers: []*server.Server{s}}
	b := busdOn(t, home, config.Module{Name: "gate", Config: json.RawMessage(`{"errcode":"M_ONE"}`)})
	run(b, configured(), Options{Module: "gate"})
	b.joined("gate", 1)
	port := s.Addr().String()
	s.Shutdown()
	s.WaitForShutdown()
	b.configure(config.Module{Name: "gate", Config: json.RawMessage(`{"errcode":"M_TWO"}`)})
	restartNATS(t, port, &server.Options{JetStream: true, StoreDir: dir})
	waittest.Until(t, "the module has the configuration of meanwhile", func() bool {
		m, err := b.nc.Request(b.subject("gate"), nil, time.Second)
		return err == nil && errcode(t, m) == "M_TWO"
	})
}

// restartNATS starts NATS where another was.
func restartNATS(t *testing.T, address string, o *server.Options) *server.Server {
	t.Helper()
	o.Host = "127.0.0.1"
	_, port, _ := strings.Cut(address, ":")
	if err := json.Unmarshal([]byte(port), &o.Port); err != nil {
		t.Fatal(err)
	}
	return natstest.Start(t, o)
}

func TestWorkerSaysWhatNATSDoesNotLetItHear(t *testing.T) {
	t.Parallel()
	d := subjects.UserMayCreateRoom.Declaration
	denied := subjects.For(serverName).Callback(d, "gate")
	users := []*server.User{
		{Username: "busd", Password: "p"},
		{Username: "gate", Password: "p", Permissions: &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{denied}}}},
	}
	s := natstest.Start(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), Users: users, NoAuthUser: "busd"})
	home := &natstest.Home{Servers: []*server.Server{s}}
	b := busdOn(t, home, config.Module{Name: "gate"})
	joins, err := b.nc.SubscribeSync(subjects.For(serverName).Join("gate"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var passedOn waittest.Log
	run(b, gate(refuses("M_NO")), Options{Module: "gate"}, nats.UserInfo("gate", "p"),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { _, _ = passedOn.Write([]byte(err.Error())) }))
	for { // The first join may be earlier than NATS's word.
		m, err := joins.NextMsg(longEnough)
		if err != nil {
			t.Fatal(err)
		}
		join := &rosterv1.Join{}
		if err := wire.DecodeMessage(m, join); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(join.GetUnserved()[d.FullName()], "NATS does not let this worker subscribe") {
			break
		}
	}
	if !passedOn.Has("Permissions Violation") {
		t.Error("the connection's own handler was not told")
	}
}

// denying are options of NATS whose user gate may not subscribe some subjects.
func denying(t *testing.T, subjects ...string) *server.Options {
	t.Helper()
	users := []*server.User{
		{Username: "busd", Password: "p"},
		{Username: "gate", Password: "p", Permissions: &server.Permissions{Subscribe: &server.SubjectPermission{Deny: subjects}}},
	}
	return &server.Options{JetStream: true, StoreDir: t.TempDir(), Users: users, NoAuthUser: "busd"}
}

// permits reloads NATS so that its user gate may not subscribe some subjects, and all others.
func permits(t *testing.T, s *server.Server, o *server.Options, denied ...string) {
	t.Helper()
	next := o.Clone()
	next.Users[1].Permissions = &server.Permissions{Subscribe: &server.SubjectPermission{Deny: denied}}
	if err := s.ReloadOptions(next); err != nil {
		t.Fatal(err)
	}
}

// listens are the subjects of a worker of gate, which has a page.
func listens(worker string) []string {
	names := subjects.For(serverName)
	return []string{
		names.Callback(subjects.UserMayCreateRoom.Declaration, "gate"), names.WorkerAny("gate", worker), names.Cancel("gate"), names.Changed("gate"),
		names.Web("gate", "/_synapse/client/gate"),
	}
}

func gateWithPage() Module[struct{}] {
	return Module[struct{}]{New: func(_ struct{}, api *ModuleAPI) error {
		api.RegisterWebResource("/_synapse/client/gate", http.NotFoundHandler())
		api.RegisterSpamCheckerCallbacks(SpamCheckerCallbacks{UserMayCreateRoom: refuses("M_NO")})
		return nil
	}}
}

// unserved is how many parts of its registration the only module cannot be asked, as its operator is told.
func (b *busd) unserved() (n int) {
	for _, problem := range b.roster.Modules()[0].Problems {
		n += strings.Count(problem, "cannot be asked")
	}
	return n
}

func TestWorkerIsAskedWhenNATSLetsItHearAtLast(t *testing.T) {
	t.Parallel()
	o := denying(t, listens("w")...)
	s := natstest.Start(t, o)
	home := &natstest.Home{Servers: []*server.Server{s}}
	b := busdOn(t, home, config.Module{Name: "gate"})
	run(b, gateWithPage(), Options{Module: "gate", Worker: "w"}, nats.UserInfo("gate", "p"))
	waittest.Until(t, "the roster says what is not served", func() bool { return b.unserved() == 2 })
	permits(t, s, o)
	for _, subject := range listens("w") {
		natstest.AwaitInterest(t, home, subject)
	}
	waittest.Until(t, "the roster says that all is served", func() bool { return b.unserved() == 0 })
	if got := errcode(t, b.create("gate", "@a:x", wire.Binary)); got != "M_NO" {
		t.Errorf("the module answers %q", got)
	}
}

func TestWorkerIsAskedAgainWhenNATSGivesBackWhatItTook(t *testing.T) {
	t.Parallel()
	o := denying(t)
	s := natstest.Start(t, o)
	b := busdOn(t, &natstest.Home{Servers: []*server.Server{s}}, config.Module{Name: "gate"})
	run(b, gate(refuses("M_NO")), Options{Module: "gate", Worker: "w"}, nats.UserInfo("gate", "p"))
	b.joined("gate", 1)
	permits(t, s, o, listens("w")...)
	waittest.Until(t, "the module is absent", func() bool { return b.unserved() == 1 })
	permits(t, s, o)
	waittest.Until(t, "it is not", func() bool { return b.unserved() == 0 })
	if got := errcode(t, b.create("gate", "@a:x", wire.Binary)); got != "M_NO" {
		t.Errorf("the module answers %q", got)
	}
}

func TestWorkerThatMayNotHearOfChangesAsksForThem(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, denying(t, subjects.For(serverName).Changed("gate")))
	b := busdOn(t, &natstest.Home{Servers: []*server.Server{s}}, config.Module{Name: "gate", Config: json.RawMessage(`{"errcode":"M_ONE"}`)})
	run(b, configured(), Options{Module: "gate"}, nats.UserInfo("gate", "p"))
	b.joined("gate", 1)
	b.reconfigure("gate", `{"errcode":"M_TWO"}`)
	waittest.Until(t, "the module has its new configuration", func() bool { return errcode(t, b.create("gate", "@a:x", wire.Binary)) == "M_TWO" })
}

func TestWorkerServesWebResources(t *testing.T) {
	t.Parallel()
	b := startBusd(t, config.Module{Name: "page"})
	r := run(b, Module[struct{}]{New: func(_ struct{}, api *ModuleAPI) error {
		api.RegisterWebResource("/_synapse/client/page", http.NotFoundHandler())
		return nil
	}}, Options{Module: "page"})
	b.joined("page", 1)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}
