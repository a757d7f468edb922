package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/wire"
)

// rule is one thing that every module does.
type rule struct {
	id       string
	sentence string
	anchor   string // of the section in docs/protocol.md
	alone    bool   // it needs no module that has joined
	check    func(context.Context, *stage) error
}

// The sections of docs/protocol.md.
const (
	life        = "a-modules-life"
	asked       = "being-asked"
	messages    = "messages"
	pages       = "web-resources"
	streams     = "streams"
	permissions = "permissions"
	needs       = "needs"
	large       = "large-questions"
	files       = "files"
	asking      = "asking-back"
	change      = "what-may-change"
	news        = "news-that-must-arrive"
)

// rules are looked at in this order: each finds the module as the one before has left it.
var rules = []rule{
	{"starts", "Starts, and asks busd for its entry until it is listed", life, true, starts},
	{"joins", "Joins under the name of its worker, with what it registers", life, true, joins},
	{"listens-first", "Listens for questions before it joins", life, false, listensFirst},
	{"revision", "Says which configuration it runs with", life, false, revision},
	{"renews", "Joins again as often as the entry says", life, false, renews},
	{"quiet", "Asks busd no more often than that", life, false, quiet},
	{"answers", "Answers what it registered, and in time", asked, false, answers},
	{"answers-by-name", "Answers questions for this one worker", asked, false, answersByName},
	{"several-at-once", "Answers many questions at a time", asked, false, severalAtOnce},
	{"busy", "Answers each of too many questions, if only that it is busy", asked, false, busy},
	{"malformed", "Fails on a question that it cannot read", asked, false, malformed},
	{"discreet", "Repeats nothing of a question in the text of a failure", asked, false, discreet},
	{"deadline", "Answers, or fails, when it has less time than usual", asked, false, deadline},
	{"cancel", "Goes on when an answer is no longer wanted", asked, false, cancels},
	{"forged", "Ignores what JetStream read from a store", asked, false, forged},
	{"news", "Acknowledges news that has a name", news, false, named},
	{"needs", "Names in its needs what its callbacks have", needs, false, needsInOrder},
	{"follow-up", "Is told how it ended, where its answer wants that", needs, false, followUps},
	{"large-question", "Reads a question in pieces, if it says that it pulls", large, false, pulls},
	{"file", "Reads a file in pieces, and again where one is busy", files, false, readsFile},
	{"asks-back", "Calls methods of the Module API that there are, with requests that can be read", asking, false, asksBack},
	{"asks-back-refused", "Answers, or fails, when the homeserver refuses a call", asking, false, asksBackRefused},
	{"future-fields", "Ignores fields that it does not know", change, false, futureFields},
	{"future-callbacks", "Has no opinion on callbacks that it does not know", change, false, futureCallbacks},
	{"page", "Serves its pages", pages, false, servesPage},
	{"page-large", "Takes a large request, or refuses it in HTTP", pages, false, servesLarge},
	{"page-streamed", "Takes a request of unknown length, or refuses it in HTTP", streams, false, servesStreamed},
	{"page-cut", "Goes on when a client goes away in the middle", pages, false, servesCut},
	{"page-websocket", "Accepts a WebSocket, or refuses it in HTTP", pages, false, servesWebSocket},
	{"changed", "Takes over a changed configuration", life, false, changed},
	{"busd-away", "Goes on while busd is away, and joins when it is back", life, false, busdAway},
	{"reconnects", "Connects again when it has lost NATS, and joins", life, false, reconnects},
	{"unique", "Has a name for each process that no other has", life, false, unique},
	{"drains", "Loses no question when it gets SIGTERM", life, false, drains},
	{"leaves", "Says that it leaves, and ends with status 0", life, true, leaves},
	{"refuses-config", "Says what is wrong with its configuration, and ends with status 78", life, true, refusesConfig},
	{"stays", "Ends only when it is told to", life, true, stays},
	{"permissions", "Keeps within its permissions", permissions, true, keepsPermissions},
}

func starts(ctx context.Context, s *stage) error {
	if err := s.start(); err != nil {
		s.gaveUp = "it does not start"
		return err
	}
	s.gaveUp = "it never joined"
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for {
		entries, _ := s.busd.counts()
		if entries >= 2 {
			return nil
		}
		_, moved := s.busd.joinedAfter(0)
		select {
		case <-moved:
		case <-s.process.done:
			return errors.New(s.process.how())
		case <-ctx.Done():
			return fmt.Errorf("within %v it has requested %s %d times; the first answer is that it is not listed yet, so twice is due",
				s.patience, s.server.Entry(moduleName), entries)
		}
	}
}

func joins(ctx context.Context, s *stage) error {
	if s.process == nil || s.process.over() {
		return skip(s.gaveUp)
	}
	if s.busd.count() == 0 {
		if err := s.awaitJoin(ctx, 0); err != nil {
			return err
		}
	}
	j := s.busd.last()
	switch {
	case j.GetWorker() == "":
		return errors.New("its join names no worker")
	case j.GetConfigError() != nil:
		return fmt.Errorf("it refuses its configuration (%s: %s); give one that it takes with --module-config",
			j.GetConfigError().GetPath(), j.GetConfigError().GetError())
	}
	s.gaveUp = ""
	return nil
}

func listensFirst(_ context.Context, s *stage) error {
	for _, j := range s.busd.all() {
		if j.deaf {
			return errors.New("when its join came, nobody listened for its questions: who asks in that moment finds it absent")
		}
	}
	return nil
}

func revision(_ context.Context, s *stage) error {
	if j := s.busd.last(); j.GetConfigRevision() != j.revised {
		return fmt.Errorf("its join says config_revision %d, and the entry %d", j.GetConfigRevision(), j.revised)
	}
	return nil
}

func renews(ctx context.Context, s *stage) error {
	const times = 3
	ctx, cancel := context.WithTimeout(ctx, 2*times*joinEvery+answerTime)
	defer cancel()
	for range times {
		if err := s.awaitJoin(ctx, s.busd.count()); err != nil {
			return fmt.Errorf("join_every_ms is %d, and it has not joined %d times since: busd forgets it", joinEvery.Milliseconds(), times)
		}
	}
	return nil
}

func quiet(_ context.Context, s *stage) error {
	const most = 20 // several times what a module needs
	_, before := s.busd.counts()
	select {
	case <-time.After(joinEvery):
	case <-s.process.done:
		return errors.New(s.process.how())
	}
	if _, said := s.busd.counts(); said-before > most {
		return fmt.Errorf("it has said %d things to busd in the time for one join: it floods busd", said-before)
	}
	return nil
}

func answers(ctx context.Context, s *stage) error {
	if _, err := s.first(); err != nil {
		return err
	}
	for _, d := range s.registered() {
		if err := s.answered(ctx, s.question(d)); err != nil {
			return fmt.Errorf("%s: %w", d.FullName(), err)
		}
	}
	return nil
}

func answersByName(ctx context.Context, s *stage) error {
	q, err := s.any()
	if err != nil {
		return err
	}
	q.subject = s.server.Worker(q.callback, moduleName, s.busd.last().GetWorker())
	return s.answered(ctx, q)
}

// atOnce asks that many times at once, and returns how many were lost, and how many were busy.
func (s *stage) atOnce(ctx context.Context, q question, n int) (lost, busy int) {
	replies := make(chan *nats.Msg, n)
	for range n {
		go func() {
			m, err := s.ask(ctx, q)
			if err != nil {
				m = nil
			}
			replies <- m
		}()
	}
	for range n {
		switch m := <-replies; {
		case m == nil:
			lost++
		case isBusy(m):
			busy++
		}
	}
	return lost, busy
}

func isBusy(m *nats.Msg) bool { return wire.Header(m, wire.HeaderErrorCode) == "busy" }

func severalAtOnce(ctx context.Context, s *stage) error {
	const several = 40
	q, err := s.any()
	if err != nil {
		return err
	}
	if lost, _ := s.atOnce(ctx, q, several); lost > 0 {
		return fmt.Errorf("of %d questions at once, %d were not answered within %v: one waits for another", several, lost, answerTime)
	}
	return nil
}

func busy(ctx context.Context, s *stage) error {
	const flood = 2000
	q, err := s.any()
	if err != nil {
		return err
	}
	lost, busy := s.atOnce(ctx, q, flood)
	if lost > 0 {
		return fmt.Errorf("of %d questions at once, %d got no reply at all, and %d that it is busy: bound the tasks, and answer busy beyond",
			flood, lost, busy)
	}
	return s.answered(ctx, q)
}

// secret is what no failure may repeat.
const secret = "hunter2"

// unreadable is a question that is none.
func (s *stage) unreadable() (question, error) {
	q, err := s.any()
	q.data = []byte("\xff{" + secret)
	return q, err
}

func malformed(ctx context.Context, s *stage) error {
	q, err := s.unreadable()
	if err != nil {
		return err
	}
	m, err := s.ask(ctx, q)
	switch {
	case err != nil:
		return err
	case wire.FailureOf(m) == nil:
		return errors.New("it answers a question that nobody can read as if it were in order: everybody passes")
	}
	return nil
}

func discreet(ctx context.Context, s *stage) error {
	q, err := s.unreadable()
	if err != nil {
		return err
	}
	m, err := s.ask(ctx, q)
	if err == nil && mentions(m, secret) {
		return fmt.Errorf("the text of its failure repeats the question: %q", wire.Header(m, wire.HeaderError))
	}
	return err
}

func deadline(ctx context.Context, s *stage) error {
	q, err := s.any()
	if err != nil {
		return err
	}
	q.header.Set(wire.HeaderTimeout, "1")
	if _, err := s.ask(ctx, q); err != nil {
		return fmt.Errorf("asked with %s: 1: %w; a failure of kind timeout is a reply, too", wire.HeaderTimeout, err)
	}
	q.header.Del(wire.HeaderTimeout)
	if err := s.hurried(ctx); err != nil {
		return err
	}
	return s.answered(ctx, q)
}

func cancels(ctx context.Context, s *stage) error {
	q, err := s.any()
	if err != nil {
		return err
	}
	const many = 300
	for range many {
		inbox := s.nc.NewInbox()
		err := errors.Join(
			s.nc.PublishMsg(&nats.Msg{Subject: q.subject, Reply: inbox, Header: q.header, Data: q.data}),
			s.nc.Publish(s.server.Cancel(moduleName), []byte(inbox)))
		if err != nil {
			return err
		}
	}
	if err := s.rejoins(ctx, "it was told that answers are no longer wanted, and has not joined since"); err != nil {
		return err
	}
	return s.free(ctx, q)
}

// free waits until a question is not answered with busy.
func (s *stage) free(ctx context.Context, q question) error {
	ctx, cancel := context.WithTimeout(ctx, 3*answerTime)
	defer cancel()
	for {
		m, err := s.ask(ctx, q)
		switch {
		case err != nil:
			return err
		case !isBusy(m):
			return q.acceptable(m)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("all that it was asked is over or no longer wanted, and %v later it is still busy: "+
				"free the place of each question, however it ends", 3*answerTime)
		case <-time.After(answerTime / 10):
		}
	}
}

func forged(ctx context.Context, s *stage) error {
	q, err := s.any()
	if err != nil {
		return err
	}
	q.header.Set("Nats-Stream", "KV_somebody")
	ctx, cancel := context.WithTimeout(ctx, answerTime/4)
	defer cancel()
	if _, err := s.ask(ctx, q); err == nil {
		return errors.New("it answers a message with the header Nats-Stream: whoever may store something can have it ask anybody anything")
	}
	return nil
}

func named(ctx context.Context, s *stage) error {
	for _, d := range s.registered() {
		if d.Options.GetRule().String() != "NOTIFY" {
			continue
		}
		q := s.question(d)
		q.header.Set(wire.HeaderNews, "verify-1")
		for range 2 {
			m, err := s.ask(ctx, q)
			if err != nil {
				return fmt.Errorf("%s: %w", d.FullName(), err)
			}
			if f := wire.FailureOf(m); f != nil {
				return fmt.Errorf("%s: it is told the same again and again, because it fails: %w", d.FullName(), f)
			}
		}
		return nil
	}
	return skip("it registers no callback that only tells")
}

func futureFields(ctx context.Context, s *stage) error {
	q, err := s.any()
	if err != nil {
		return err
	}
	if q.in == wire.JSON {
		q.data = withField(q.data)
	} else {
		q.data = append(slices.Clone(q.data), futureField...)
	}
	q.header.Set("Modulebus-Tomorrow", "1")
	return s.answered(ctx, q)
}

func futureCallbacks(ctx context.Context, s *stage) error {
	q, err := s.any()
	if err != nil {
		return err
	}
	q.subject = strings.Replace(s.server.Worker(q.callback, moduleName, s.busd.last().GetWorker()), q.callback.FullName(), "tomorrow.may_user_fly", 1)
	m, err := s.ask(ctx, q)
	switch {
	case errors.Is(err, nats.ErrNoResponders): // It does not listen for what it does not know.
		return nil
	case err != nil:
		return fmt.Errorf("it listens on %s, and does not answer: %w; no opinion is an empty reply", q.subject, err)
	case isBusy(m): // It leaves it to another worker.
		return nil
	case wire.FailureOf(m) != nil:
		return fmt.Errorf("it fails: %w", wire.FailureOf(m))
	case len(m.Data) > 0 && string(m.Data) != "{}":
		return errors.New("it has an opinion on a callback that it does not know")
	}
	return nil
}

// after waits for a join that satisfies.
func (s *stage) after(ctx context.Context, what string, is func(joined) bool) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for {
		_, moved := s.busd.joinedAfter(0)
		if is(s.busd.last()) {
			return nil
		}
		select {
		case <-moved:
		case <-s.process.done:
			if !s.process.orderly() {
				return errors.New(s.process.how())
			}
			if err := s.start(); err != nil { // It makes room for a process with the new configuration, as busd would let it.
				return err
			}
		case <-ctx.Done():
			return errors.New(what)
		}
	}
}

func changed(ctx context.Context, s *stage) error {
	want := s.busd.configure(s.Config)
	err := s.after(ctx, "it was told that its entry has changed, and goes on saying that it runs with the old configuration",
		func(j joined) bool { return j.GetConfigRevision() == want && j.GetConfigError() == nil })
	if err != nil {
		return err
	}
	return s.alive(ctx)
}

// alive asks anything that the module can be asked.
func (s *stage) alive(ctx context.Context) error {
	if len(s.registered()) == 0 {
		return nil
	}
	return s.answered(ctx, s.question(s.registered()[0]))
}

func busdAway(ctx context.Context, s *stage) error {
	s.busd.away(true)
	select {
	case <-time.After(2 * joinEvery):
	case <-s.process.done:
		s.busd.away(false)
		return errors.New("busd did not answer for a second: " + s.process.how())
	}
	s.busd.away(false)
	return s.rejoins(ctx, "busd was away for a second, and it has not joined since")
}

func (s *stage) rejoins(ctx context.Context, otherwise string) error {
	count := s.busd.count()
	if err := s.awaitJoin(ctx, count); err != nil {
		if s.process.over() {
			return err
		}
		return errors.New(otherwise)
	}
	return s.alive(ctx)
}

func reconnects(ctx context.Context, s *stage) error {
	s.line.cut()
	return s.rejoins(ctx, "its connection to NATS broke, and it has not joined since")
}

func unique(ctx context.Context, s *stage) error {
	first := s.busd.last().GetWorker()
	other, err := s.launch("another")
	if err != nil {
		return err
	}
	defer other.end()
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for count := s.busd.count(); ; {
		_, moved := s.busd.joinedAfter(0)
		for _, j := range s.busd.all()[count:] {
			if j.GetWorker() != first {
				return nil
			}
		}
		select {
		case <-moved:
		case <-other.done:
			return errors.New("a second worker: " + other.how())
		case <-ctx.Done():
			return fmt.Errorf("two processes join as the same worker, %q: each takes the other's questions", first)
		}
	}
}

// drains asks all the time while the module ends. What nobody listened for is not lost.
func drains(ctx context.Context, s *stage) error {
	q, err := s.any()
	if err != nil {
		return err
	}
	const callers = 4
	lost, ended := make(chan int, callers), make(chan struct{})
	for range callers {
		go func() { lost <- s.askUntil(ctx, q, ended) }()
	}
	time.Sleep(joinEvery / 4) // Questions are on their way all the time then.
	s.drained = s.process.stop()
	close(ended)
	all := 0
	for range callers {
		all += <-lost
	}
	if all > 0 {
		return fmt.Errorf("%d questions that it had, or that were on their way to it, were never answered: "+
			"drain subscriptions, answer, and close then", all)
	}
	return nil
}

// askUntil counts the questions that were not answered.
func (s *stage) askUntil(ctx context.Context, q question, ended <-chan struct{}) (lost int) {
	for {
		select {
		case <-ended:
			return lost
		default:
		}
		if _, err := s.ask(ctx, q); errors.Is(err, errLost) {
			lost++
		}
	}
}

func leaves(_ context.Context, s *stage) error {
	if s.gaveUp != "" || s.process == nil {
		return skip(s.gaveUp)
	}
	s.noteEnd()
	if !s.process.asked {
		s.drained = s.process.stop()
	}
	switch worker := s.busd.last().GetWorker(); {
	case !s.drained:
		s.process.kill()
		return fmt.Errorf("it still runs %v after SIGTERM", stopTime)
	case !s.process.orderly():
		return errors.New("after SIGTERM " + s.process.how())
	case !s.busd.left(worker):
		return fmt.Errorf("it has not requested %s as worker %q", s.server.Leave(moduleName), worker)
	}
	return nil
}

func stays(_ context.Context, s *stage) error {
	s.noteEnd()
	if len(s.ended) > 0 {
		return errors.New(strings.Join(s.ended, "; "))
	}
	return nil
}

func keepsPermissions(_ context.Context, s *stage) error {
	if s.gaveUp != "" {
		return skip(s.gaveUp)
	}
	if all := s.refusals.all(); len(all) > 0 {
		return errors.New("NATS refused it: " + strings.Join(all, "; "))
	}
	return nil
}
