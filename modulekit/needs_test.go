package modulekit_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/modulekit/modulekittest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

type checker = modulekit.Keyed[*callbacksv1.AuthCheckersRequest, *callbacksv1.AuthCheckersResponse]

// checks is a checker that answers the same message each time.
func checks(loginType string, answer *callbacksv1.AuthCheckersResponse) checker {
	return checker{
		Key: loginType, Fields: []string{"password"},
		Func: func(context.Context, *callbacksv1.AuthCheckersRequest) (*callbacksv1.AuthCheckersResponse, error) {
			return answer, nil
		},
	}
}

// authenticates is a module that registers checkers, and is told of logins.
func authenticates(checkers ...checker) modulekit.Module[struct{}] {
	return constructed(func(api *modulekit.ModuleAPI) error {
		api.RegisterPasswordAuthProviderCallbacks(modulekit.PasswordAuthProviderCallbacks{
			AuthCheckers: checkers,
			OnAuthCheckersLogin: func(context.Context, *callbacksv1.OnAuthCheckersLoginRequest) (*callbacksv1.OnAuthCheckersLoginResponse, error) {
				return nil, nil
			},
		})
		return nil
	})
}

func TestLoginTypeIsCheckedByWhatRegisteredIt(t *testing.T) {
	t.Parallel()
	hs := modulekittest.Start(t, authenticates(
		checks("m.login.password", &callbacksv1.AuthCheckersResponse{UserId: "@password:x"}),
		checks("org.example.card", &callbacksv1.AuthCheckersResponse{UserId: "@card:x"}),
		checks("org.example.card", &callbacksv1.AuthCheckersResponse{UserId: "@later:x"}),
		checks("org.example.dice", nil),
	), "")
	for loginType, want := range map[string]string{
		"m.login.password": "@password:x", "org.example.card": "@card:x", "org.example.dice": "", "org.example.else": "", "": "",
	} {
		got, err := hs.PasswordAuthProvider.AuthCheckers(t.Context(), &callbacksv1.AuthCheckersRequest{LoginType: loginType})
		if got.GetUserId() != want || err != nil {
			t.Errorf("%q: got %v, %v, want %q", loginType, got, err, want)
		}
	}
}

func TestLoginThatIsToldOfHasATokenOfItsOwn(t *testing.T) {
	t.Parallel()
	always := &callbacksv1.AuthCheckersResponse{UserId: "@a:x", TellLogin: true}
	hs := modulekittest.Start(t, authenticates(checks("m.login.password", always)), "")
	tokens := map[string]bool{}
	for range 2 {
		got, err := hs.PasswordAuthProvider.AuthCheckers(t.Context(), &callbacksv1.AuthCheckersRequest{LoginType: "m.login.password"})
		if err != nil || got.GetWorker() == "" || got.GetToken() == "" {
			t.Fatalf("got %v, %v", got, err)
		}
		tokens[got.GetToken()] = true
	}
	if len(tokens) != 2 {
		t.Error("two logins have the same token")
	}
	want := &callbacksv1.AuthCheckersResponse{UserId: "@a:x", TellLogin: true}
	if diff := cmp.Diff(want, always, protocmp.Transform()); diff != "" {
		t.Errorf("the module's own message was changed:\n%s", diff)
	}
}

func TestLoginThatIsNotToldOfIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	answer := &callbacksv1.AuthCheckersResponse{UserId: "@a:x"}
	hs := modulekittest.Start(t, authenticates(checks("m.login.password", answer)), "")
	got, err := hs.PasswordAuthProvider.AuthCheckers(t.Context(), &callbacksv1.AuthCheckersRequest{LoginType: "m.login.password"})
	if diff := cmp.Diff(answer, got, protocmp.Transform()); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestTokenOfTheModulesIsKept(t *testing.T) {
	t.Parallel()
	answer := &callbacksv1.AuthCheckersResponse{UserId: "@a:x", TellLogin: true, Token: "mine"}
	hs := modulekittest.Start(t, authenticates(checks("m.login.password", answer)), "")
	got, err := hs.PasswordAuthProvider.AuthCheckers(t.Context(), &callbacksv1.AuthCheckersRequest{LoginType: "m.login.password"})
	if got.GetToken() != "mine" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}
