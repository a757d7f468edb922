package subjects_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/subjects"
)

func TestMethodIsFoundByItsNameAndItsSubject(t *testing.T) {
	t.Parallel()
	s := subjects.For("example.com")
	for _, m := range subjects.Methods() {
		if found, ok := subjects.FindMethod(m.Name); !ok || found != m {
			t.Errorf("%s is found as %v", m.Name, found)
		}
		if module, name, err := subjects.MethodOf(s.API(m, "pkg.Mod")); err != nil || module != "pkg.Mod" || name != m.Name {
			t.Errorf("%s is the method %q of %q, %v", s.API(m, "pkg.Mod"), name, module, err)
		}
		if m.Options.GetSince() == "" || m.Options.GetScope() == "" || m.NewRequest() == m.NewRequest() || m.NewReply() == nil {
			t.Errorf("%s is declared with %v", m.Name, m.Options)
		}
	}
	if _, ok := subjects.FindMethod("nothing"); ok {
		t.Error("finds a method that there is not")
	}
	for _, subject := range []string{"", "api", s.Join("m"), s.APICancel("m"), "modulebus.a.module.b.c.api.d"} {
		if module, name, err := subjects.MethodOf(subject); err == nil {
			t.Errorf("%q is the method %q of %q", subject, name, module)
		}
	}
}

func TestScopesAreThoseThatAreGranted(t *testing.T) {
	t.Parallel()
	scopes := subjects.Scopes()
	for _, m := range subjects.Methods() {
		if scope := m.Options.GetScope(); !m.Options.GetByDefault() && !slices.Contains(scopes, scope) {
			t.Errorf("%s needs %s, which nobody can grant", m.Name, scope)
		}
	}
	if slices.Sort(scopes); len(slices.Compact(slices.Clone(scopes))) != len(scopes) {
		t.Errorf("a scope is there twice: %q", scopes)
	}
}

func TestFollowUpFollowsWhatItNames(t *testing.T) {
	t.Parallel()
	for i, d := range subjects.All() {
		if d.Index() != i {
			t.Errorf("%s has the index %d, and is at %d", d.FullName(), d.Index(), i)
		}
		if next := d.FollowedBy(); next != nil && (!next.FollowUp() || next.Category != d.Category || d.FollowUp()) {
			t.Errorf("%s is followed by %s", d.FullName(), next.FullName())
		}
	}
	if subjects.OnUpdate.FollowedBy() != subjects.OnUpdateEnd.Declaration || subjects.OnLoggedOut.FollowedBy() != nil {
		t.Error("on_update is followed by on_update_end, and on_logged_out by nothing")
	}
	if _, ok := subjects.Find("nothing"); ok {
		t.Error("finds a callback that there is not")
	}
}

// matches is how NATS compares a subject with a pattern.
func matches(pattern, subject string) bool {
	p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range p {
		switch {
		case token == ">":
			return len(s) > i
		case i >= len(s) || token != "*" && token != s[i]:
			return false
		}
	}
	return len(p) == len(s)
}

func TestPatternMatchesEveryModulesSubjectAndNoOther(t *testing.T) {
	t.Parallel()
	s := subjects.For("example.com")
	d, m := subjects.UserMayInvite.Declaration, subjects.APISendMail.Method
	process := subjects.Process("pkg.Mod", "w.1")
	patterns := map[string]string{ // by the one subject among these that it matches
		s.Ask(d): s.AskAny(), s.Worker(d, "pkg.Mod", "w.1"): s.WorkerAny("pkg.Mod", "w.1"),
		s.Entry("pkg.Mod"): s.EntryAny(), s.Join("pkg.Mod"): s.JoinAny(), s.Leave("pkg.Mod"): s.LeaveAny(), s.Store("pkg.Mod"): s.StoreAny(),
		s.API(m, "pkg.Mod"): s.APIAny(), s.APICancel("pkg.Mod"): s.APICancelAny(), s.File("pkg.Mod", "c", "f"): s.FileAny("c"),
		s.GatewayStream(process, subjects.Bulk, "t"): s.GatewayStreams("w.1", subjects.Bulk),
		s.WorkerStream(process, subjects.Bulk, "t"):  s.WorkerStreams(process, subjects.Bulk),
	}
	for of, pattern := range patterns {
		for subject := range patterns {
			if got := matches(pattern, subject); got != (subject == of) {
				t.Errorf("%s matches %s: %v", pattern, subject, got)
			}
		}
	}
	if other := subjects.Beside(process, "w.2"); other != subjects.Process("pkg.Mod", "w.2") {
		t.Errorf("beside %s is %s", process, other)
	}
}

func TestPermissionsOfAHomeserverAreNoModules(t *testing.T) {
	t.Parallel()
	s := subjects.For("example.com")
	may := func(patterns []string, subject string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, subject) })
	}
	d := subjects.UserMayInvite.Declaration
	p := s.HomeserverPermissions()
	for subject, want := range map[string]bool{
		s.Ask(d): true, s.Roster(): true, s.Callback(d, "m"): true, s.Worker(d, "m", "w"): true, s.Web("m", "/a"): true, s.Cancel("m"): true,
		s.Join("m"): false, s.Leave("m"): false, s.Entry("m"): false, s.RosterChanged(): false, s.Changed("m"): false,
		subjects.For("other.example").Ask(d): false, "$JS.API.INFO": false,
	} {
		if got := may(p.Publish, subject); got != want {
			t.Errorf("it may publish %s: %v", subject, got)
		}
	}
	for subject, want := range map[string]bool{
		s.RosterChanged(): true, s.API(subjects.APISendMail.Method, "m"): true, s.File("m", "c", "f"): true,
		s.Ask(d): false, s.Callback(d, "m"): false, s.Join("m"): false, s.Inbox("m", "w") + ".1": false,
	} {
		if got := may(p.Subscribe, subject); got != want {
			t.Errorf("it may subscribe %s: %v", subject, got)
		}
	}
}

func TestServiceNameIsOneOfNATS(t *testing.T) {
	t.Parallel()
	for module, want := range map[string]string{"demo-1_A": "demo-1_A", "pkg.Mod ü": "pkg_Mod__"} {
		if got := subjects.ServiceName(module); got != want {
			t.Errorf("%s: %s, want %s", module, got, want)
		}
	}
}
