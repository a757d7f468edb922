package redact_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/redact"
	"github.com/modulebus/modulebus/internal/redact/redacttest"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

// login has a password with what JSON and Go spell otherwise.
func login(t *testing.T, password string) proto.Message {
	t.Helper()
	dict, err := json.Marshal(map[string]any{"password": password, "pin": 123456, "short": "ab"})
	if err != nil {
		t.Fatal(err)
	}
	return &callbacksv1.AuthCheckersRequest{User: "alice", LoginDict: dict}
}

func TestFieldsAreThoseThatAMessageLoses(t *testing.T) {
	t.Parallel()
	for d, want := range map[*subjects.Declaration][]string{
		subjects.CheckRegistrationForSpam.Declaration: {"email_threepid.address", "request_info.ip"},
		subjects.UserMayCreateRoom.Declaration:        nil,
	} {
		if got := redact.Fields(d.NewRequest().ProtoReflect().Descriptor()); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", d.FullName(), got, want)
		}
	}
}

func TestTextHasNoSecretOfWhatItIsAbout(t *testing.T) {
	t.Parallel()
	const password = "hunter2 \"und\" <é>\n"
	inJSON, err := json.Marshal(password)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"as it is":          {"bad password " + password, "bad password [redacted]"},
		"in JSON":           {"bad " + string(inJSON) + "!", `bad "[redacted]"!`},
		"as Go quotes it":   {fmt.Sprintf("bad %q!", password), `bad "[redacted]"!`},
		"a number":          {"the pin 123456 is wrong", "the pin [redacted] is wrong"},
		"cut in it":         {"no such user: hunter2 \"u", "no such user: [redacted]"},
		"what is no secret": {"alice is about", "alice is about"},
		"nothing":           {"", ""},
	} {
		if got := redact.Text(c.text, login(t, password)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestTextHasNoAddressOfAPerson(t *testing.T) {
	t.Parallel()
	about := &callbacksv1.CheckRegistrationForSpamRequest{
		EmailThreepid: &callbacksv1.Threepid{Medium: "email", Address: "alice@example.org"},
		RequestInfo:   []*callbacksv1.RequestInfo{{Ip: "203.0.113.7"}, {Ip: "203.0.113.77"}},
	}
	if got, want := redact.Text("alice@example.org at 203.0.113.77, 203.0.113.7", about), "[redacted] at [redacted], [redacted]"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTextOfWhatHasNoSecretsIsAsItWas(t *testing.T) {
	t.Parallel()
	const text = "@alice:example.org may not"
	if got := redact.Text(text, &callbacksv1.UserMayCreateRoomRequest{UserId: "@alice:example.org"}); got != text {
		t.Errorf("%q", got)
	}
	if got := redact.Text(text, nil); got != text {
		t.Errorf("of nothing: %q", got)
	}
}

func TestTextAboutTooManySecretsSaysNothing(t *testing.T) {
	t.Parallel()
	var members []string
	for i := range 2000 {
		members = append(members, strconv.Quote(fmt.Sprint("secret-", i)))
	}
	about := &callbacksv1.AuthCheckersRequest{LoginDict: []byte(`{"all":[` + strings.Join(members, ",") + `]}`)}
	if got := redact.Text("about secret-1999", about); got != "[redacted]" {
		t.Errorf("%q", got)
	}
}

// messages are all that callbacks and the Module API have.
func messages() (all []proto.Message) {
	for _, d := range subjects.All() {
		all = append(all, d.NewRequest(), d.NewReply())
	}
	for _, m := range subjects.Methods() {
		all = append(all, m.NewRequest(), m.NewReply())
	}
	return all
}

func TestRedactedMessagesHaveNothingDeclaredSecret(t *testing.T) {
	t.Parallel()
	found := 0
	for _, m := range messages() {
		name := string(m.ProtoReflect().Descriptor().Name())
		seeds := redacttest.Fill(m, name)
		raw, err := proto.Marshal(redact.Message(m))
		if err != nil {
			t.Fatal(err)
		}
		holds(t, name, string(raw), seeds.Secret, false)
		holds(t, name, string(raw), seeds.Open, true)
		text := redact.Text(strings.Join(slices.Concat(seeds.Secret, seeds.Open), " and "), m)
		holds(t, name, text, seeds.Secret, false)
		holds(t, name, text, seeds.Open, true)
		found += len(seeds.Secret)
	}
	if found == 0 {
		t.Error("nothing is declared to be secret")
	}
}

// holds wants a text to have all of the words, or none.
func holds(t *testing.T, name, text string, words []string, want bool) {
	t.Helper()
	for _, word := range words {
		if strings.Contains(text, word) != want {
			t.Errorf("%s: %q in %q: %v", name, word, text, !want)
		}
	}
}
