package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/wire"
)

// rule is something that every module must do.
type rule struct {
	id       string
	sentence string
	anchor   string // of the section in docs/protocol.md
	alone    bool   // it needs no joined module
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

// rules are checked in this order: each finds the module as the one before has left it.
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
	{"refuses-change", "Says that it refuses a configuration that changed, and goes on with the old one", life, true, refusesChange},
	{"stays", "Ends only when it is told to", life, true, stays},
	{"permissions", "Keeps within its permissions", permissions, true, keepsPermissions},
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

func keepsPermissions(_ context.Context, s *stage) error {
	if s.gaveUp != "" {
		return skip(s.gaveUp)
	}
	if all := s.refusals.all(); len(all) > 0 {
		return errors.New("NATS refused it: " + strings.Join(all, "; "))
	}
	return nil
}
