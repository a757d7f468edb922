package config

import (
	"bufio"
	"cmp"
	"errors"
	"flag"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/modulebus/modulebus/subjects"
)

// TestFileWithMistakes reads each file of testdata/bad, which says in lines "# want: 3:5: path: text" what is wrong with it.
func TestFileWithMistakes(t *testing.T) {
	t.Parallel()
	for _, path := range files(t, "bad") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			want := wanted(t, path)
			c, err := Read(path)
			_, ok := errors.AsType[Errors](err)
			if !ok {
				t.Fatalf("got %v, %v; want %d problems", c, err, len(want))
			}
			got := strings.Split(strings.ReplaceAll(err.Error(), path+":", ""), "\n")
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("want (-), got (+):\n%s", diff)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("a secret got out")
			}
		})
	}
}

// TestFileThatIsRight reads each file of testdata/good, and compares what it means with the .txt beside it.
func TestFileThatIsRight(t *testing.T) {
	t.Parallel()
	eachGood(t, func(t *testing.T, path string, c *Config) {
		golden(t, strings.TrimSuffix(path, ".yaml")+".txt", strings.ReplaceAll(c.String(), stateDir(c.ServerName, os.Getenv), "/default/state"))
	})
}

// eachGood reads each file of testdata/good, and calls test with it.
func eachGood(t *testing.T, test func(t *testing.T, path string, c *Config)) {
	t.Helper()
	for _, path := range files(t, "good") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			c, err := Read(path)
			if err != nil {
				t.Fatal(err)
			}
			test(t, path, c)
		})
	}
}

var update = flag.Bool("update", false, "write what the tests compare with")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("want (-), got (+); -update writes it:\n%s", diff)
	}
}

// TestDescriptionMeansTheSame reads what a configuration prints, and wants the same again.
func TestDescriptionMeansTheSame(t *testing.T) {
	t.Parallel()
	eachGood(t, func(t *testing.T, path string, c *Config) {
		again, err := Parse("busd.yaml", []byte(c.String()))
		if err != nil {
			t.Fatalf("%v in:\n%s", err, c)
		}
		if diff := gocmp.Diff(c, again, same...); diff != "" && path != "testdata/good/passwords.yaml" {
			t.Errorf("want (-), got (+):\n%s", diff)
		}
	})
}

// same compares configurations, but for what a description leaves out.
var same = gocmp.Options{
	cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(Config{}), cmpopts.IgnoreFields(Config{}, "Warnings"),
	cmpopts.IgnoreFields(Module{}, "Config"),
}

// TestKeysAreAllShown holds the printer against the table: whatever is set or not, no key is left out.
func TestKeysAreAllShown(t *testing.T) {
	t.Parallel()
	for _, path := range files(t, "good") {
		c, err := Read(path)
		if err != nil {
			t.Fatal(err)
		}
		shown := c.String()
		eachKey("", fileKeys(c), func(name string, _ key) {
			last := name[strings.LastIndex(name, ".")+1:]
			if !regexp.MustCompile(`(?m)^ *(- |# )?` + last + `:`).MatchString(shown) {
				t.Errorf("%s: %s is not in\n%s", path, name, shown)
			}
		})
	}
}

// eachKey calls f with each key and the keys that it has, but not with those of single callbacks.
func eachKey(prefix string, keys []key, f func(name string, k key)) {
	for _, k := range keys {
		f(prefix+k.name, k)
		eachKey(prefix+k.name+".", k.keys, f)
		if k.list != nil {
			for _, entry := range k.list() {
				eachKey(prefix+k.name+".", entry, f)
			}
		}
	}
}

func files(t *testing.T, folder string) []string {
	paths, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in testdata/%s (%v)", folder, err)
	}
	return paths
}

func wanted(t *testing.T, path string) (want []string) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if _, line, found := strings.Cut(lines.Text(), "# want: "); found {
			want = append(want, line)
		}
	}
	return want
}

func TestFileIsReadWhole(t *testing.T) {
	t.Parallel()
	got, err := Read("testdata/good/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		ServerName: "example.com",
		StateDir:   "testdata/state",
		NATS: NATS{
			URL:         "nats://a:4222,nats://b:4222",
			MaxStore:    64 << 20,
			Credentials: "testdata/good/busd.creds",
			TLS:         TLS{CA: "/etc/ca.pem", Cert: "testdata/good/cert.pem", Key: "testdata/good/key.pem"},
		},
		HTTP: HTTP{
			Listen: "0.0.0.0:8010", TokenFile: "testdata/good/http.token",
			Tokens: []Token{
				{"testdata/good/homeserver.token", []string{"ask"}, "http.tokens[0].token_file"},
				{"testdata/dashboard.token", []string{"read", "ask"}, "http.tokens[1].token_file"},
			},
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("2001:db8::/32")},
			Web:            Web{time.Second, Never, time.Hour, 30 * time.Second, 24 * time.Hour, 50 << 20},
		},
		Homeserver:   Homeserver{URL: "http://127.0.0.1:8008/_synapse/modulebus", TokenFile: "testdata/api.token"},
		PolicyServer: &PolicyServer{KeyFile: "testdata/good/policy.key"},
		Modules: []Module{
			{
				Name: "demo", Run: []string{"go", "run", "./cmd/demo-module", "8080", "yes"}, Workers: 2,
				Environment: []string{"DATABASE_URL"}, Grants: []string{"rooms.send"},
				Config:  []byte(`{"deny":["@evilguy:example.com"]}`),
				Timeout: 250 * time.Millisecond, OnFailure: &Policy{Local: Skip, Federated: Skip},
				Hedge: 50 * time.Millisecond, Breaker: Breaker{10, time.Minute}, DeliverFor: DefaultDeliverFor,
				Callbacks: map[string]Override{
					"spam_checker.check_event_for_spam": {
						Timeout: time.Second, OnFailure: &Policy{Local: Refuse, Federated: Skip, PolicyServer: Refuse}, Hedge: new(200 * time.Millisecond),
					},
					"spam_checker.user_may_create_room": {OnFailure: &Policy{Local: Fail, Federated: Fail}, Hedge: new(time.Duration(0)), Breaker: &Breaker{}},
					"third_party_rules.on_new_event":    {Timeout: 2 * time.Hour, Breaker: &Breaker{5, 10 * time.Second}},
				},
			},
			{
				Name: "my_pkg.Mod", Workers: 1, Config: []byte(`{}`), Timeout: time.Second, OnFailure: &Policy{Local: Unset, Federated: Refuse},
				Breaker: Breaker{5, 5 * time.Second}, DeliverFor: DefaultDeliverFor,
			},
		},
		Decisions:  Decisions{Stream: true, Keep: 48 * time.Hour, MaxBytes: 1 << 30, NoOpinion: 10, Requests: true},
		Budget:     2 * time.Second,
		Sequential: []string{"spam_checker.check_event_for_spam", "spam_checker.user_may_invite"},
	}
	if diff := gocmp.Diff(want, got, whole...); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

// whole compares configurations, but for places in the file.
var whole = gocmp.Options{
	cmpopts.EquateComparable(netip.Prefix{}), cmpopts.IgnoreUnexported(Config{}), cmpopts.IgnoreFields(Config{}, "Warnings"),
}

func TestDescribeKeepsSecrets(t *testing.T) {
	t.Parallel()
	for _, path := range files(t, "good") {
		c, err := Read(path)
		if err != nil || strings.Contains(c.String(), "hunter2") {
			t.Errorf("%s: %v, or a secret got out", path, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	got, err := Parse("busd.yaml", []byte("server_name: example.com"))
	want := &Config{
		ServerName: "example.com",
		StateDir:   stateDir("example.com", os.Getenv),
		NATS:       NATS{Listen: "127.0.0.1:4222", MaxPayload: 1 << 20, MaxStore: 1 << 30},
		HTTP:       HTTP{Listen: "127.0.0.1:8010", Web: Web{2 * time.Second, 90 * time.Second, Never, time.Minute, Never, 0}},
		Decisions:  DefaultDecisions,
		Budget:     5 * time.Second,
	}
	if diff := gocmp.Diff(want, got, whole...); err != nil || diff != "" {
		t.Errorf("%v; want (-), got (+):\n%s", err, diff)
	}
}

func TestErrorsNameTheFileAndAllMistakesInOrder(t *testing.T) {
	t.Parallel()
	_, err := Parse("dir/busd.yaml", []byte(`
budget: soon
server_name: example.com
modules:
  - module: demo
    tiemout: 1s
  - module: slow
    timeout: 5 minutes
`))
	want := `dir/busd.yaml:2:9: budget: "soon" is not a duration (try 250ms, 5m or 1d)
dir/busd.yaml:6:5: modules[0].tiemout: is not a known key (did you mean timeout?)
dir/busd.yaml:8:14: modules[1].timeout: "5 minutes" is not a duration (try 5m)`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestEmptyFileMissesAServerName(t *testing.T) {
	t.Parallel()
	_, err := Parse("busd.yaml", nil)
	if err == nil || !strings.HasPrefix(err.Error(), "busd.yaml:1:1: server_name: is missing") {
		t.Errorf("got %v", err)
	}
}

func TestReadSaysWhatTheSystemSays(t *testing.T) {
	t.Parallel()
	if _, err := Read("testdata/nowhere.yaml"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is no such file", err)
	}
	if _, err := Read("testdata"); err == nil {
		t.Error("a folder was read")
	}
}

func declared(t *testing.T, name string) *subjects.Declaration {
	t.Helper()
	d, ok := subjects.Find(name)
	if !ok {
		t.Fatalf("there is no callback %s", name)
	}
	return d
}

func TestTermsOfResolvePolicies(t *testing.T) {
	t.Parallel()
	spam, create := "spam_checker.check_event_for_spam", "spam_checker.user_may_create_room"
	event, login := "third_party_rules.on_new_event", "account_validity.on_user_login"
	of := func(name string) Policy { // What is declared.
		o := declared(t, name).Options
		return Policy{Local: o.GetOnFailure(), Federated: cmp.Or(o.GetOnFailureFederated(), o.GetOnFailure())}
	}
	for _, tt := range []struct {
		name     string
		module   *Policy
		callback *Policy
		of       string
		want     Policy
	}{
		{"nothing said", nil, nil, spam, of(spam)},
		{"the module's", &Policy{Local: Skip, Federated: Skip}, nil, spam, Policy{Local: Skip, Federated: Skip}},
		{"the callback's has the first word", &Policy{Local: Skip, Federated: Skip}, &Policy{Local: Fail, Federated: Fail}, spam, Policy{Local: Fail, Federated: Fail}},
		{"the module's fills in an origin", &Policy{Local: Skip, Federated: Skip}, &Policy{Local: Refuse}, spam, Policy{Local: Refuse, Federated: Skip}},
		{"a difference where no origin is known", &Policy{Local: Refuse, Federated: Skip}, nil, create, of(create)},
		{"no difference where no origin is known", &Policy{Local: Refuse, Federated: Refuse}, nil, create, Policy{Local: Refuse, Federated: Refuse}},
		{"refuse where nothing can be", &Policy{Local: Refuse, Federated: Refuse}, nil, login, of(login)},
		{"the policy server's alone", &Policy{PolicyServer: Refuse}, nil, spam, Policy{of(spam).Local, of(spam).Federated, Refuse}},
		{"what a callback says of federation holds for the policy server", &Policy{PolicyServer: Refuse}, &Policy{Federated: Fail}, spam, Policy{of(spam).Local, Fail, Fail}},
		{"the policy server's where no origin is known", &Policy{PolicyServer: Refuse}, nil, create, of(create)},
		{"refuse for one origin where nothing can be", &Policy{Local: Refuse, Federated: Refuse}, &Policy{Local: Fail, Federated: Refuse}, event, of(event)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := Module{Timeout: time.Second, OnFailure: tt.module, Callbacks: map[string]Override{tt.of: {OnFailure: tt.callback}}}
			got := m.TermsOf(declared(t, tt.of))
			want := tt.want
			want.PolicyServer = cmp.Or(want.PolicyServer, want.Federated)
			if (Policy{got.OnFailure, got.OnFailureFederated, got.OnFailurePolicy}) != want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTermsOfResolveHedges(t *testing.T) {
	t.Parallel()
	spam, event := "spam_checker.check_event_for_spam", "third_party_rules.on_new_event"
	for _, tt := range []struct {
		name     string
		module   time.Duration
		override Override
		of       string
		want     time.Duration
	}{
		{"nothing said", 0, Override{}, spam, 0},
		{"the module's", time.Millisecond, Override{}, spam, time.Millisecond},
		{"the callback's has the first word", time.Millisecond, Override{Hedge: new(time.Second)}, spam, time.Second},
		{"the callback's is off", time.Millisecond, Override{Hedge: new(time.Duration(0))}, spam, 0},
		{"the module's where asking twice does something twice", time.Millisecond, Override{}, event, 0},
		{"the module's where it comes too late", time.Second, Override{Timeout: time.Second}, spam, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := Module{Timeout: time.Minute, Hedge: tt.module, Callbacks: map[string]Override{tt.of: tt.override}}
			if got := m.TermsOf(declared(t, tt.of)).Hedge; got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTermsOfResolveBreakersAndTimeouts(t *testing.T) {
	t.Parallel()
	m := Module{Timeout: time.Second, Breaker: DefaultBreaker, Callbacks: map[string]Override{
		"spam_checker.user_may_create_room": {Breaker: &Breaker{}, Timeout: time.Minute}, "spam_checker.user_may_invite": {},
	}}
	for name, want := range map[string]Terms{
		"user_may_create_room": {Timeout: time.Minute}, "user_may_invite": {Timeout: time.Second, Breaker: DefaultBreaker},
		"user_may_join_room": {Timeout: time.Second, Breaker: DefaultBreaker},
	} {
		if got := m.TermsOf(declared(t, name)); got.Timeout != want.Timeout || got.Breaker != want.Breaker {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

func TestDeliveryHoldsForNewsThatIsWorthIt(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	whole := Module{AtLeastOnce: true, DeliverFor: time.Hour, Callbacks: map[string]Override{
		"third_party_rules.on_profile_update": {AtLeastOnce: &no}, "account_data.on_account_data_updated": {DeliverFor: time.Minute},
	}}
	single := Module{DeliverFor: time.Hour, Callbacks: map[string]Override{"federation.on_event_delivered_over_federation": {AtLeastOnce: &yes}}}
	shadow := Module{AtLeastOnce: true, Shadow: true}
	for _, tt := range []struct {
		module   Module
		callback subjects.AnyCallback
		want     bool
		most     time.Duration
	}{
		{whole, subjects.OnNewEvent, true, time.Hour},
		{whole, subjects.OnAccountDataUpdated, true, time.Minute},
		{whole, subjects.OnProfileUpdate, false, time.Hour},
		{whole, subjects.OnEventDeliveredOverFederation, false, time.Hour},
		{whole, subjects.UserMayInvite, false, time.Hour},
		{whole, subjects.OnAuthCheckersLogin, false, time.Hour},
		{single, subjects.OnEventDeliveredOverFederation, true, time.Hour},
		{single, subjects.OnNewEvent, false, time.Hour},
		{shadow, subjects.OnNewEvent, false, 0},
	} {
		d := subjects.DeclarationOf(tt.callback)
		if got := tt.module.TermsOf(d); got.AtLeastOnce != tt.want || got.DeliverFor != tt.most {
			t.Errorf("%s: %t for %v, want %t for %v", d.FullName(), got.AtLeastOnce, got.DeliverFor, tt.want, tt.most)
		}
	}
	if !whole.KeepsNews() || !single.KeepsNews() || shadow.KeepsNews() || new(Module).KeepsNews() {
		t.Error("it is not known whose news is kept")
	}
}
