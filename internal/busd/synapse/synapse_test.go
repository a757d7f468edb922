package synapse_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/synapse"
)

const homeserver = `server_name: example.com
password_providers: [{module: imap.X, config: {server: a}}]
spam_checker: {module: old.Spam, config: {x: 1}}
presence: {presence_router: {module: old.Router}}
third_party_event_rules: {}
ldap_config: {enabled: true, uri: "ldap://b"}
shared: &shared {uri: "ldap://localhost"}
modules:
  - module: modulebus_synapse.ModuleBus
    config: {url: "http://127.0.0.1:8010"}
  - module: my_gate.Gate
    config:
      <<: *shared
      enabled: yes
      code: 08
  - module: my_gate.Other
  - {module: sql.Module, config: null}
  - module: away.Module
`

func read(t *testing.T, text string) synapse.Homeserver {
	t.Helper()
	h, err := synapse.Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestEntriesSayHowModulesRunAndWhatTheyNeed(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := synapse.Write(&out, read(t, homeserver), []synapse.Survey{
		{
			Module: "my_gate.Gate", Version: "1.0", Attributes: []string{"get", "register", "send_mail", "is_user_admin"}, Registers: true,
			Callbacks: []string{"user_may_invite", "on_upgrade_room"}, Pages: []string{"/_synapse/client/gate"}, Missing: []string{"frozendict"},
		},
		{Module: "my_gate.Other"},
		{Module: "sql.Module", Registers: true, Uses: []synapse.Use{{"run_db_interaction", "sql.py", 3}, {"_store", "sql.py", 4}}},
		{Module: "away.Module", Problem: "is not installed"},
		{Module: "old.Spam"},
		{Module: "old.Router"},
		{Module: "ldap_auth_provider.LdapAuthProvider", Version: "0.4.0", Registers: true},
		{Module: "imap.X", Attributes: []string{"register"}},
	}, "venv/bin/run")
	if err != nil {
		t.Fatal(err)
	}
	const want = `# Put an entry into busd.yaml, and take it out of homeserver.yaml: one module at a time.
modules:
  # my_gate.Gate 1.0: can run. venv/bin/run is in the environment of matrix-synapse and the module.
  # It imports frozendict, which is not installed: install that beside it.
  # It registers on_upgrade_room, which Synapse does not ask.
  # It has a page: add /_synapse/client/gate to web of modulebus_synapse.ModuleBus.
  - module: my-gate
    run: [venv/bin/run, my_gate.Gate]
    config:
      <<: {uri: "ldap://localhost"}
      enabled: yes
      code: 08
    grants: [users.write, tokens, mail]
  # my_gate.Other: can run. venv/bin/run is in the environment of matrix-synapse and the module.
  # Its Python registers no callbacks and no page: if nothing else does, nothing is asked of it.
  - module: my-gate-2
    run: [venv/bin/run, my_gate.Other]
  # sql.Module: cannot run out of Synapse's process, and stays in homeserver.yaml.
  # sql.py:3 uses run_db_interaction.
  # sql.py:4 uses _store.
  # If your configuration never comes there, this runs it all the same:
  # - module: sql
  #   run: [venv/bin/run, sql.Module, --tolerate, '_store,run_db_interaction']
  # away.Module: is not installed. Whether it can run was not looked at, nor which grants it needs: give --python of Synapse's environment.
  - module: away
    run: [venv/bin/run, away.Module]
  # old.Spam: can run. venv/bin/run is in the environment of matrix-synapse and the module.
  # Take it out of spam_checker in homeserver.yaml.
  - module: old
    run: [venv/bin/run, old.Spam, --section, spam_checker]
    config: {x: 1}
  # old.Router: can run. venv/bin/run is in the environment of matrix-synapse and the module.
  # Take it out of presence_router in homeserver.yaml.
  - module: old-2
    run: [venv/bin/run, old.Router, --section, presence_router]
  # ldap_auth_provider.LdapAuthProvider 0.4.0: can run. venv/bin/run is in the environment of matrix-synapse and the module.
  # Take it out of password_providers in homeserver.yaml.
  - module: ldap-auth-provider
    run: [venv/bin/run, ldap_auth_provider.LdapAuthProvider, --section, password_providers]
    config: {enabled: true, uri: "ldap://b"}
  # imap.X: can run. venv/bin/run is in the environment of matrix-synapse and the module.
  # Take it out of password_providers in homeserver.yaml.
  - module: imap
    run: [venv/bin/run, imap.X, --section, password_providers]
    config: {server: a}
    grants: [users.write, tokens]
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	conf, err := config.Parse("busd.yaml", []byte("server_name: example.com\n"+out.String()))
	if err != nil {
		t.Fatalf("busd does not read them: %v", err)
	}
	if got := string(conf.Modules[0].Config); got != `{"enabled":true,"code":"08","uri":"ldap://localhost"}` {
		t.Errorf("the module's config has become %s", got)
	}
}

func TestReadTakesWhatIsMergedIntoAnEntry(t *testing.T) {
	t.Parallel()
	h := read(t, `
gate: &gate {module: my_gate.Gate, config: {a: 1}}
defaults: &defaults {module: my_gate.Other, config: {b: 2}}
modules:
  - <<: *gate
  - {<<: [{config: {c: 3}}, *defaults]}
  - {<<: *gate, config: {d: 4}}
  - *defaults
`)
	var got []string
	for _, e := range h.Modules {
		got = append(got, e.Class+" "+e.Config.Content[0].Value)
	}
	if diff := cmp.Diff([]string{"my_gate.Gate a", "my_gate.Other c", "my_gate.Gate d", "my_gate.Other b"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestEntriesOfNoModulesAreAnEmptyList(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "server_name: x\n", "modules:\n", "modules: []\n"} {
		var out strings.Builder
		if err := synapse.Write(&out, read(t, text), nil, "run"); err != nil || !strings.HasSuffix(out.String(), "\nmodules: []\n") {
			t.Errorf("%q: %v, %s", text, err, &out)
		}
	}
}

func TestReadSaysWhereWhatIsWrong(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"- a\n":                                            "line 1: this is no homeserver.yaml",
		"a: 1\nmodules: {x: 1}\n":                          "line 2: modules must be a list",
		"modules:\n  - config: {}\n":                       "line 2: module is missing",
		"modules:\n  - my.Module\n":                        "line 2: module is missing",
		"a: 1\nb: *hunter2\n":                              "line 2: this is not YAML",
		strings.Repeat("a", 1<<20+1):                       "is larger than 1 MiB",
		"modules: [{module: a.b, config: &a {b: [*a]}}]\n": "line 1: modules: with their aliases",
		"modules:\n  - module: [a]\n":                      "line 2: module is missing",
		"modules:\n  - module: hunter2\n":                  "line 2: module must be a class with its package",
		"modules:\n  - {module: \"a;hunter2.B\"}\n":        "line 2: module must be a class with its package",
		"a: 1\n---\nmodules: [{module: a.B}]\n":            "line 2: a second document begins here",
	} {
		_, err := synapse.Read(strings.NewReader(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

// FuzzRead wants whatever is read to be written as something that is read again, and names that differ.
func FuzzRead(f *testing.F) {
	f.Add(homeserver)
	f.Add("modules: [{module: a.b, config: &a {b: [*a]}}]")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := synapse.Read(strings.NewReader(text))
		if err != nil {
			return
		}
		var out strings.Builder
		if err := synapse.Write(&out, h, make([]synapse.Survey, len(h.Modules)), "run"); err != nil {
			return
		}
		var again struct{ Modules []yaml.Node }
		if err := yaml.Unmarshal([]byte(out.String()), &again); err != nil || len(again.Modules) != len(h.Modules) {
			t.Errorf("%v: %d entries of %d modules in\n%s", err, len(again.Modules), len(h.Modules), &out)
		}
	})
}
