package modulekit_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/modulekit/modulekittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// inviteGate refuses invites to whom its list bans.
type inviteGate struct{ list banlist }

func (g inviteGate) userMayInvite(
	ctx context.Context, req *callbacksv1.UserMayInviteRequest,
) (*callbacksv1.UserMayInviteResponse, error) {
	banned, err := g.list.bans(ctx, req.GetInvitee())
	if err != nil {
		return nil, err // a failure: what becomes of the invite is the operator's to say
	}
	if !banned {
		return nil, nil // no opinion: the next module is asked
	}
	refusal := modulekit.Refuse("M_FORBIDDEN", "This user may not be invited")
	return &callbacksv1.UserMayInviteResponse{Refusal: refusal}, nil
}

// banlist stands for a database.
type banlist map[string]error

func (l banlist) bans(_ context.Context, user string) (bool, error) {
	err, listed := l[user]
	return listed && err == nil, err
}

// A refusal is an answer, an error is the lack of one, and nil is no opinion.
func ExampleRefuse() {
	gate := inviteGate{banlist{"@evilguy:example.com": nil, "@unlucky:example.com": errors.New("the database is away")}}
	module := modulekit.Module[struct{}]{New: func(_ struct{}, api *modulekit.ModuleAPI) error {
		api.RegisterSpamCheckerCallbacks(modulekit.SpamCheckerCallbacks{UserMayInvite: gate.userMayInvite})
		return nil
	}}
	hs, err := modulekittest.New(module, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, invitee := range []string{"@evilguy:example.com", "@alice:example.com", "@unlucky:example.com"} {
		answer, err := hs.SpamChecker.UserMayInvite(context.Background(), &callbacksv1.UserMayInviteRequest{Invitee: invitee})
		fmt.Printf("%s: refusal %q, error %v\n", invitee, answer.GetRefusal().GetErrcode(), err)
	}
	// Output:
	// @evilguy:example.com: refusal "M_FORBIDDEN", error <nil>
	// @alice:example.com: refusal "", error <nil>
	// @unlucky:example.com: refusal "", error error: the database is away
}
