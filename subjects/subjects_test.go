package subjects_test

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

func TestTokensAreReversible(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "s"))
		checkToken(t, s)
	})
}

func FuzzToken(f *testing.F) {
	for _, s := range []string{"", "%", "%%", "example.org", "a.*.>", "localhost:8448", "%2E", "ä\x00 \n", "[::1]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		checkToken(t, s)
		if got, err := subjects.ParseToken(s); err == nil && subjects.Token(got) != s {
			t.Errorf("%q and %q are both tokens of %q", s, subjects.Token(got), got)
		}
	})
}

func checkToken(t interface{ Errorf(string, ...any) }, s string) {
	token := subjects.Token(s)
	if token == "" || strings.ContainsAny(token, ".*> \t\r\n\x00$") {
		t.Errorf("%q is no token", token)
	}
	if got, err := subjects.ParseToken(token); err != nil || got != s {
		t.Errorf("%q became %q, %v", s, got, err)
	}
}

func TestTokensHaveOneSpelling(t *testing.T) {
	t.Parallel()
	for _, token := range []string{"", "%2e", "%41", "%2", "a.b", "a%", "%G0", "a b", "ä"} {
		if got, err := subjects.ParseToken(token); err == nil {
			t.Errorf("%q was read as %q", token, got)
		}
	}
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	s, d := subjects.For("example.com"), subjects.UserMayCreateRoom.Declaration
	tests := []struct{ got, want string }{
		{s.Ask(d), "modulebus.example%2Ecom.ask.spam_checker.user_may_create_room"},
		{s.Callback(d, "demo"), "modulebus.example%2Ecom.cb.spam_checker.user_may_create_room.demo"},
		{s.Worker(d, "pkg.Mod", "w1"), "modulebus.example%2Ecom.cb.spam_checker.user_may_create_room.pkg%2EMod.w1"},
		{s.WorkerAny("demo", "w1"), "modulebus.example%2Ecom.cb.*.*.demo.w1"},
		{s.Web("demo", "/a"), "modulebus.example%2Ecom.web.1.demo.%2Fa"},
		{s.GatewayStream(subjects.Process("pkg.Mod", "g"), subjects.Bulk, "t"), "modulebus.example%2Ecom.webg.1.pkg%2EMod.g.b.t"},
		{s.GatewayStreams("g", subjects.Control), "modulebus.example%2Ecom.webg.1.*.g.c.*"},
		{s.WorkerStream(subjects.Process("demo", "w1"), subjects.Control, "*"), "modulebus.example%2Ecom.webw.1.demo.w1.c.*"},
		{s.News(subjects.OnNewEvent, "pkg.Mod"), "modulebus.example%2Ecom.news.pkg%2EMod.third_party_rules.on_new_event"},
		{s.NewsAny("demo"), "modulebus.example%2Ecom.news.demo.*.*"},
		{s.NewsStream("pkg.Mod"), "modulebus-news-example_2Ecom-pkg_2EMod"},
		{s.Inbox("demo", "w1"), "modulebus.example%2Ecom.module.demo.inbox.w1"},
	}
	for _, tt := range tests {
		if tt.got != tt.want {
			t.Errorf("got %s, want %s", tt.got, tt.want)
		}
	}
}

func TestStreamsTellWhoseTheyAre(t *testing.T) {
	t.Parallel()
	s, process := subjects.For("a.*"), subjects.Process("m.x", "w")
	for _, subject := range []string{s.GatewayStream(process, subjects.Bulk, "t"), s.WorkerStream(process, subjects.Control, "t")} {
		if got, token := subjects.StreamOf(subject); got != process || token != "t" {
			t.Errorf("%s is of %q, %q", subject, got, token)
		}
	}
	for _, subject := range []string{"", "a.b", "webg.1.a.b.c.d", s.Web("m", "/a"), s.Inbox("m", "w") + ".a.b.c.d"} {
		if got, token := subjects.StreamOf(subject); got != "" || token != "" {
			t.Errorf("%s is of %q, %q", subject, got, token)
		}
	}
}

func TestSubjectsTellWhatTheyAreAbout(t *testing.T) {
	t.Parallel()
	s := subjects.For("a.*")
	for _, subject := range []string{s.Entry("m.x"), s.Join("m.x"), s.Leave("m.x"), s.Changed("m.x")} {
		if got, err := subjects.ModuleOf(subject); err != nil || got != "m.x" {
			t.Errorf("%s is about %q, %v", subject, got, err)
		}
	}
	d := subjects.UserMayInvite.Declaration
	for _, subject := range []string{s.Ask(d), s.Callback(d, "m"), s.Worker(d, "m", "w")} {
		if got, err := subjects.CallbackOf(subject); err != nil || got != d.FullName() {
			t.Errorf("%s is about %q, %v", subject, got, err)
		}
	}
	for _, subject := range []string{"", "modulebus.a.roster.get", "x.a.cb.b.c.d", "modulebus.a.module.%.."} {
		if got, err := subjects.CallbackOf(subject); err == nil {
			t.Errorf("%s is about %q", subject, got)
		}
		if got, err := subjects.ModuleOf(subject); err == nil && got != "" {
			t.Errorf("%s is about %q", subject, got)
		}
	}
}

// Everything that a declaration must say, checked on what the program sees rather than on the files.
func TestDeclarations(t *testing.T) {
	t.Parallel()
	for _, d := range subjects.All() {
		o := d.Options
		if o.GetRule() == 0 || o.GetOnFailure() == 0 || o.GetSince() == "" {
			t.Errorf("%s is declared with %v", d.FullName(), o)
		}
		if o.GetOnFailure() == callbacksv1.OnFailure_REFUSE && !d.CanRefuse() {
			t.Errorf("%s refuses on failure but has no refusal", d.FullName())
		}
		sequential := o.GetRule() == callbacksv1.Rule_FOLD || o.GetRule() == callbacksv1.Rule_SOLE
		if o.GetAtLeastOnce() && (o.GetRule() != callbacksv1.Rule_NOTIFY || d.FollowUp()) {
			t.Errorf("%s is delivered at least once, and is no news", d.FullName())
		}
		if o.GetSpeculative() && sequential {
			t.Errorf("%s is both speculative and %v", d.FullName(), o.GetRule())
		}
		if d.KnowsOrigin() && d.NewRequest().ProtoReflect().Descriptor().Fields().ByName("event") == nil {
			t.Errorf("%s knows no origin: it has no event", d.FullName())
		}
		if found, ok := subjects.Find(d.Name); !ok || found != d {
			t.Errorf("%s is not the only one of its name", d.FullName())
		}
	}
}

// An empty reply is no opinion, so what a reply can say must not be the zero of its field.
func TestReplyCanBeEmpty(t *testing.T) {
	t.Parallel()
	for _, d := range subjects.All() {
		if raw, err := proto.Marshal(d.NewReply()); err != nil || len(raw) > 0 {
			t.Errorf("%s: an empty reply is %x, %v", d.FullName(), raw, err)
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	reply := subjects.UserMayInvite.Refused(&callbacksv1.Refusal{Errcode: "M_FORBIDDEN"})
	if got := reply.(*callbacksv1.UserMayInviteResponse).GetRefusal().GetErrcode(); got != "M_FORBIDDEN" {
		t.Errorf("got %q", got)
	}
}

// The four categories of the founding page, and its 14 callbacks, are all here under Synapse's names.
func TestFoundingPageHasTheSubjects(t *testing.T) {
	t.Parallel()
	page := map[string][]string{
		"spam_checker": {
			"check_event_for_spam", "user_may_invite", "user_may_create_room", "user_may_create_room_alias",
			"user_may_publish_room", "check_username_for_spam", "check_registration_for_spam", "check_media_file_for_spam",
		},
		"account_validity":  {"is_user_expired", "on_user_registration"},
		"third_party_rules": {"check_event_allowed", "on_create_room"},
		"presence_router":   {"get_users_for_states", "get_interested_users"},
	}
	for category, names := range page {
		for _, name := range names {
			if d, ok := subjects.Find(category + "." + name); !ok || d.Name != name || d.Category.Name != category {
				t.Errorf("%s.%s is not here", category, name)
			}
		}
	}
}

func TestCategories(t *testing.T) {
	t.Parallel()
	var callbacks []*subjects.Declaration
	for _, c := range subjects.Categories() {
		callbacks = append(callbacks, c.Callbacks...)
	}
	if !slices.Equal(callbacks, subjects.All()) {
		t.Error("categories and All differ")
	}
}

// Names of fields are read aloud in errors and typed by people: they are Synapse's, in snake case.
func TestFieldsAreSnakeCase(t *testing.T) {
	t.Parallel()
	for _, d := range subjects.All() {
		for _, m := range []proto.Message{d.NewRequest(), d.NewReply()} {
			fields := m.ProtoReflect().Descriptor().Fields()
			for i := range fields.Len() {
				if name := string(fields.Get(i).Name()); name != strings.ToLower(name) {
					t.Errorf("%s: %s", d.FullName(), name)
				}
			}
		}
	}
}

func TestCallbackAndItsDeclarationAreOne(t *testing.T) {
	t.Parallel()
	s := subjects.For("example.com")
	for _, c := range []subjects.AnyCallback{subjects.UserMayInvite, subjects.UserMayInvite.Declaration} {
		if d := subjects.DeclarationOf(c); d.Name != "user_may_invite" || s.Ask(c) != s.Ask(d) {
			t.Errorf("got %s", d.FullName())
		}
	}
}

// TestModuleHearsNothingThatItSays holds what a module may say apart from what it may hear. Whoever hears a message may answer
// it once, wherever its reply subject is: a module that hears its own could say anything anywhere. All below a last * counts as heard.
func TestModuleHearsNothingThatItSays(t *testing.T) {
	t.Parallel()
	p := subjects.For("example.com").ModulePermissions("gate")
	for _, hears := range p.Subscribe {
		hears, _, _ = strings.Cut(hears, " ")
		if below, ok := strings.CutSuffix(hears, "*"); ok {
			hears = below + ">"
		}
		for _, says := range p.Publish {
			if overlap(strings.Split(hears, "."), strings.Split(says, ".")) {
				t.Errorf("%s and %s have subjects in common", hears, says)
			}
		}
	}
}

// What a module hears below a * is its own, however deep.
func TestModuleHearsBelowATokenWhatIsItsOwn(t *testing.T) {
	t.Parallel()
	for _, hears := range subjects.For("example.com").ModulePermissions("gate").Subscribe {
		hears, _, _ = strings.Cut(hears, " ")
		if strings.HasSuffix(hears, ".*") && !slices.Contains(strings.Split(hears, "."), "gate") {
			t.Errorf("%s lets the module hear all below it", hears)
		}
	}
}

// overlap reports whether two patterns have subjects in common.
func overlap(a, b []string) bool {
	switch {
	case len(a) == 0 || len(b) == 0:
		return len(a) == len(b)
	case a[0] == ">" || b[0] == ">":
		return true
	}
	return (a[0] == b[0] || a[0] == "*" || b[0] == "*") && overlap(a[1:], b[1:])
}
