//go:build integration

package synapse_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/integration/testbed"
)

// third is a module that somebody else wrote and published, with a row of the table in docs/python-modules.md.
type third struct {
	name, version string
	module        func(*testing.T) moving
	more          string                                 // configuration of Synapse
	env           string                                 // of Synapse, where the module needs it there
	actions       func(*testing.T, *thirdStage) []string // beside everybody's
	proof         string                                 // what must be among what clients saw: the module had a say
	remarks       string
	room          bool // its configuration names a ROOM, and somebody in it: KEEPER
}

const evilWord = "cheap watches"

var thirds = []third{
	{
		name: "synapse-http-antispam", version: "0.5.1",
		module: func(t *testing.T) moving {
			return moving{class: "synapse_http_antispam.HTTPAntispam", config: `{base_url: "` + wordServer(t) +
				`", enabled_callbacks: [user_may_invite, user_may_create_room, check_event_for_spam, check_login_for_spam]}`}
		},
		proof:   `403 M_FORBIDDEN "watches"`,
		remarks: "with `enabled_callbacks` in Synapse, which refuses its `accept_make_join`; out of its process that is a warning",
	},
	{
		name: "synapse-auto-accept-invite", version: "1.2.0",
		module: func(*testing.T) moving {
			return moving{class: "synapse_auto_accept_invite.InviteAutoAccepter", config: "{}", grants: "rooms.send, account_data"}
		},
		proof: "bob is join",
	},
	{
		name: "shared-secret-authenticator", version: "2.0.1",
		module: func(*testing.T) moving {
			return moving{class: "shared_secret_authenticator.SharedSecretAuthProvider", config: `{shared_secret: "` + sharedSecret + `"}`}
		},
		actions: func(t *testing.T, s *thirdStage) []string {
			mac := hmac.New(sha512.New, []byte(sharedSecret))
			mac.Write([]byte(s.alice.id))
			login := func(token string) string {
				return s.login(t, map[string]any{"type": "com.devture.shared_secret_auth", "token": token}, "alice")
			}
			return []string{"right secret: " + login(hex.EncodeToString(mac.Sum(nil))), "wrong secret: " + login("00")}
		},
		proof: "right secret: 200 alice",
	},
	{
		name: "synapse-token-authenticator", version: "0.14.1",
		module: func(*testing.T) moving {
			return moving{
				class:  "synapse_token_authenticator.TokenAuthenticator",
				config: `{jwt: {secret: "` + jwtSecret + `", allow_registration: true}}`, grants: "users.write, users.admin",
			}
		},
		actions: func(t *testing.T, s *thirdStage) []string {
			login := func(name, secret string) string {
				return s.login(t, map[string]any{"type": "com.famedly.login.token", "token": jwt(name, secret)}, name)
			}
			return []string{
				"a token: " + login("alice", jwtSecret), "another secret's: " + login("alice", strings.ToUpper(jwtSecret)),
				"somebody new: " + login("tina", jwtSecret),
			}
		},
		proof:   "a token: 200 alice",
		remarks: "JWT",
	},
	{
		name: "synapse-token-authenticator", version: "0.14.1",
		module: func(t *testing.T) moving {
			return moving{
				class: "synapse_token_authenticator.TokenAuthenticator", grants: "users.write, users.private, users.admin",
				config: `{oauth: {introspection_validation: {endpoint: "` + introspection(t) + `", localpart_path: username, displayname_path: name, ` +
					`email_path: email}, username_type: localpart, registration_enabled: true}}`,
			}
		},
		actions: func(t *testing.T, s *thirdStage) []string {
			login := func(name, token string) string {
				return s.login(t, map[string]any{"type": "com.famedly.login.token.oauth", "token": token}, name)
			}
			profile := func(name string) string {
				return string(s.alice.do(t, "GET", "/_matrix/client/v3/profile/"+url.PathEscape("@"+name+":"+s.s.name), nil).raw)
			}
			return []string{
				"somebody new: " + login("olga", "olga"), "again: " + login("olga", "olga"), "another's token: " + login("alice", "olga"),
				"no token: " + login("olga", "nobody"), "another identity: " + login("olga", "other-olga"), "without a link: " + login("alice", "alice"), "profile: " + profile("olga"),
			}
		},
		proof:   "again: 200 olga",
		remarks: "OAuth, with a server that it asks about tokens",
	},
	{
		name: "matrix-synapse-imap", version: "0.0.5",
		module: func(t *testing.T) moving {
			host, port, _ := net.SplitHostPort(imapServer(t)) // It listens there.
			return moving{
				class: "imap_auth_provider.IMAPAuthProvider", section: "password_providers", grants: "users.write, tokens",
				config: `{enabled: true, create_users: true, server: "` + host + `", port: ` + port + `, plain_userid: true, append_domain: example.org}`,
			}
		},
		actions: func(t *testing.T, s *thirdStage) []string {
			login := func(name, password string) string {
				return s.login(t, map[string]any{"type": "m.login.password", "password": password}, name)
			}
			return []string{
				"right password: " + login("bob", imapPassword), "wrong password: " + login("bob", "x"),
				"somebody new: " + login("ivan", imapPassword), "nobody: " + login("nobody", imapPassword),
			}
		},
		proof:   "somebody new: 200 ivan",
		remarks: "in `password_providers`, so with `--section password_providers`; against an IMAP server. It blocks while it asks that: in Synapse, everybody; out of it, itself",
	},
	{
		name: "synapse-registration-notifier", version: "0.1.2",
		module: func(*testing.T) moving {
			return moving{
				class: "synapse_registration_notifier.RegistrationNotifier", grants: "rooms.send",
				config: `{notification_room: "ROOM", admin_user_id: "KEEPER"}`,
			}
		},
		room: true,
		actions: func(t *testing.T, s *thirdStage) []string {
			var told struct {
				Chunk []struct{ Content struct{ Body string } }
			}
			r := s.keeper.do(t, "GET", room(s.notified, "messages")+"?dir=b&limit=3", nil)
			if err := json.Unmarshal(r.raw, &told); err != nil {
				t.Error(err)
			}
			var all []string
			for _, e := range told.Chunk {
				if e.Content.Body != "" {
					all = append(all, "told: "+strings.ReplaceAll(e.Content.Body, "\n", " "))
				}
			}
			return all
		},
		proof: "Username: dora",
	},
	{
		name: "synapse-freeze-room", version: "1.1.0",
		module: func(*testing.T) moving {
			return moving{class: "freeze_room.FreezeRoom", config: "{}", grants: "rooms.send"}
		},
		remarks: "needs frozendict, which it does not declare; in this Synapse it does nothing, in either place",
	},
	{
		name: "synapse-room-access-rules", version: "1.0.0",
		module: func(*testing.T) moving {
			return moving{class: "room_access_rules.RoomAccessRules", config: `{id_server: "localhost"}`}
		},
		more:    "default_room_version: '10'\n",
		proof:   "im.vector.room.access_rules",
		remarks: "with `default_room_version: '10'`: it writes power levels that later versions refuse",
	},
	{
		name: "matrix-synapse-ldap3", version: "0.4.0",
		module: func(t *testing.T) moving {
			return moving{
				class: "ldap_auth_provider.LdapAuthProviderModule", grants: "users.write, tokens",
				config: `{enabled: true, uri: "` + ldapServer(t) + `", base: "ou=users,dc=example,dc=org", attributes: {uid: cn, mail: mail, name: givenName}}`,
			}
		},
		actions: func(t *testing.T, s *thirdStage) []string {
			login := func(name, password string) string {
				return s.login(t, map[string]any{"type": "m.login.password", "password": password}, name)
			}
			return []string{
				"right password: " + login("bob", "ldap secret"), "wrong password: " + login("bob", "x"),
				"somebody new: " + login("carol", "ldap secret"), "nobody: " + login("nobody", "ldap secret"),
			}
		},
		proof:   "somebody new: 200 carol",
		remarks: "against an LDAP server",
	},
	{
		name: "matrix-http-rendezvous-synapse", version: "0.1.12",
		module: func(*testing.T) moving {
			return moving{
				class:  "matrix_http_rendezvous_synapse.SynapseRendezvousModule",
				config: `{prefix: ` + rendezvous + `}`, web: rendezvous,
			}
		},
		env: "SYNAPSE_ASYNC_IO_REACTOR=1",
		actions: func(t *testing.T, s *thirdStage) []string {
			begun := s.alice.do(t, "POST", rendezvous, []byte("hello"))
			at := rendezvous + "/" + filepath.Base(begun.header.Get("Location"))
			read := s.bob.do(t, "GET", at, nil)
			return []string{
				fmt.Sprintf("begins: %d", begun.status), fmt.Sprintf("reads: %d %s", read.status, read.raw),
				fmt.Sprintf("too large: %d", s.bob.do(t, "PUT", at, bytes.Repeat([]byte("x"), 1<<20)).status),
				fmt.Sprintf("ends: %d", s.bob.do(t, "DELETE", at, nil).status), fmt.Sprintf("gone: %d", s.bob.do(t, "GET", at, nil).status),
			}
		},
		proof:   "reads: 200 hello",
		remarks: "a page in Rust; in Synapse it needs `SYNAPSE_ASYNC_IO_REACTOR=1`, out of its process nothing",
	},
}

const (
	rendezvous = "/_synapse/client/rendezvous"
	jwtSecret  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// TestPublishedModulesBehaveTheSameOutOfSynapsesProcess has each of them in a Synapse, and in a process of its own beside another
// Synapse, does the same with both, and writes what came of it into the table in the docs.
//
//nolint:paralleltest // servers enough for a small machine
func TestPublishedModulesBehaveTheSameOutOfSynapsesProcess(t *testing.T) {
	path := publishedModules(t)
	rows := []string{"| module | version | actions with the same result | grants | workers | remarks |", "|---|---|---:|---|---|---|"}
	for _, m := range thirds {
		t.Run(m.name, func(t *testing.T) { rows = append(rows, m.play(t, path)) })
	}
	if t.Failed() || len(rows) != len(thirds)+2 {
		return // Some were not played.
	}
	testbed.WriteBetween(t, filepath.Join(testbed.Root, "docs/python-modules.md"), "modules", strings.Join(rows, "\n")+"\n")
}

// TestPublishedModuleThatExecutesSQLIsRefusedWhenItStarts has one whose rules would be off out of Synapse's process.
//
//nolint:paralleltest // servers enough for a small machine
func TestPublishedModuleThatExecutesSQLIsRefusedWhenItStarts(t *testing.T) {
	s := prepareSynapse(t)
	d := moved(t, s, moving{class: "synapse_oidc_upload_rules.OidcUploadRulesModule", config: "{}", path: publishedModules(t)}, "")
	testbed.Eventually(t, "busd shows why it does not run", func() bool {
		_, out, err := d.Try("GET", "/_modulebus/v1/modules", nil)
		return err == nil && bytes.Contains(out, []byte("uses run_db_interaction"))
	})
}

// publishedModules is where make modules has installed them.
func publishedModules(t *testing.T) string {
	t.Helper()
	path := os.Getenv("MODULEBUS_MODULES")
	if path == "" {
		t.Skip("make modules installs what this test runs")
	}
	return path
}

// play does the same with the module in both places, and returns its row of the table.
func (m third) play(t *testing.T, path string) string {
	t.Helper()
	mod := m.module(t)
	mod.path = path
	inside := prepareSynapse(t)
	there := m.keep(t, inside)
	modules, more := there.configured(mod, inside).inside()
	inside.configure(t, modules, m.more+more)
	inside.env = []string{"PYTHONPATH=" + pythonPath(t) + ":" + path, m.env, plainVersion}
	inside.start(t)
	want := m.seenOn(t, inside, there)
	inside.stop()

	outside := prepareSynapse(t)
	there = m.keep(t, outside)
	d := moved(t, outside, there.configured(mod, outside), m.more)
	outside.start(t)
	ready(t, d, outside)
	got := m.seenOn(t, outside, there)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what clients saw in Synapse's process (-) and out of it (+):\n%s", diff)
	}
	if !strings.Contains(strings.Join(want, "\n"), m.proof) {
		t.Errorf("nothing says %q, so the module had no say:\n%s", m.proof, strings.Join(want, "\n"))
	}
	return fmt.Sprintf("| %s | %s | %d | %s | 1 | %s |", m.name, m.version, len(got), cell(mod.grants), m.remarks)
}

// kept is a room that is older than the module, with somebody in it.
type kept struct {
	keeper user
	room   string
}

// keep has a Synapse make the room that the module's configuration names, if it names one.
func (m third) keep(t *testing.T, s *synapse) (k kept) {
	t.Helper()
	if !m.room {
		return k
	}
	s.configure(t, " []", m.more)
	s.start(t)
	defer s.stop()
	k.keeper = s.register(t, "keeper", true)
	k.room = k.keeper.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{"preset": "private_chat"}).str("room_id")
	return k
}

// configured is the module, told of the room.
func (k kept) configured(m moving, s *synapse) moving {
	m.config = strings.NewReplacer("ROOM", k.room, "KEEPER", "@keeper:"+s.name).Replace(m.config)
	return m
}

// plainVersion is what Synapse calls itself where no checkout is around it, whose branch it would add: matrix-synapse-ldap3
// cannot read that.
const plainVersion = "SYNAPSE_VERSION_STRING=1.163.2"

// roomID is one in a text that clients see.
var roomID = regexp.MustCompile(`![\w-]+(:SERVER)?`)

func cell(grants string) string {
	if grants == "" {
		return "none"
	}
	return "`" + strings.ReplaceAll(grants, ", ", "`, `") + "`"
}

// seenOn is what clients see of a Synapse, of everybody's actions and the module's.
func (m third) seenOn(t *testing.T, s *synapse, k kept) []string {
	t.Helper()
	st := newThirdStage(t, s)
	st.keeper, st.notified = k.keeper, k.room
	saw := st.everybodys(t)
	if m.actions != nil {
		saw = append(saw, m.actions(t, st)...)
	}
	for i := range saw {
		saw[i] = roomID.ReplaceAllString(strings.ReplaceAll(saw[i], s.name, "SERVER"), "ROOM")
	}
	return saw
}

// thirdStage is a Synapse with some people, and a third in it.
type thirdStage struct {
	s                 *synapse
	admin, alice, bob user
	keeper            user   // with whom the module's room is older than the module
	notified          string // that room
}

func newThirdStage(t *testing.T, s *synapse) *thirdStage {
	t.Helper()
	return &thirdStage{s: s, admin: s.register(t, "admin", true), alice: s.register(t, "alice", false), bob: s.register(t, "bob", false)}
}

// login is what comes of it, and who is logged in then.
func (st *thirdStage) login(t *testing.T, body map[string]any, name string) string {
	t.Helper()
	body["identifier"] = map[string]any{"type": "m.id.user", "user": name}
	r := st.s.nobody().do(t, "POST", "/_matrix/client/v3/login", body)
	local, _, _ := strings.Cut(strings.TrimPrefix(r.str("user_id"), "@"), ":")
	return strings.TrimSpace(r.String() + " " + local)
}

// everybodys is what clients see of two dozen actions.
func (st *thirdStage) everybodys(t *testing.T) (saw []string) {
	t.Helper()
	did := func(what string, r reply) { saw = append(saw, what+": "+r.String()) }
	create := func(body map[string]any) reply { return st.alice.do(t, "POST", "/_matrix/client/v3/createRoom", body) }
	public := create(map[string]any{"preset": "public_chat", "name": "public"})
	did("a public room", public)
	private := create(map[string]any{"preset": "private_chat"})
	did("a private room", private)
	did("a room that is evil", create(map[string]any{"name": evilWord}))
	did("a direct room with an invite", create(map[string]any{"preset": "trusted_private_chat", "is_direct": true, "invite": []string{st.bob.id}}))
	did("an alias", st.alice.do(t, "PUT", "/_matrix/client/v3/directory/room/"+url.PathEscape("#a:"+st.s.name), map[string]any{"room_id": public.str("room_id")}))
	did("into the directory", st.alice.do(t, "PUT", "/_matrix/client/v3/directory/list/room/"+url.PathEscape(public.str("room_id")), map[string]any{"visibility": "public"}))
	did("a join", st.bob.do(t, "POST", room(public.str("room_id"), "join"), map[string]any{}))
	did("a join without invite", st.bob.do(t, "POST", room(private.str("room_id"), "join"), map[string]any{}))
	did("an invite", st.alice.do(t, "POST", room(private.str("room_id"), "invite"), map[string]any{"user_id": st.bob.id}))
	did("a message", st.bob.do(t, "PUT", room(public.str("room_id"), "send", "m.room.message", "1"), message("good morning")))
	did("a message that is evil", st.bob.do(t, "PUT", room(public.str("room_id"), "send", "m.room.message", "2"), message(evilWord)))
	did("a topic", st.alice.do(t, "PUT", room(public.str("room_id"), "state", "m.room.topic", ""), map[string]any{"topic": "weather"}))
	did("a topic without power", st.bob.do(t, "PUT", room(public.str("room_id"), "state", "m.room.topic", ""), map[string]any{"topic": "mine"}))
	did("join rules", st.alice.do(t, "PUT", room(public.str("room_id"), "state", "m.room.join_rules", ""), map[string]any{"join_rule": "invite"}))
	did("a kick", st.alice.do(t, "POST", room(public.str("room_id"), "kick"), map[string]any{"user_id": st.bob.id}))
	did("a ban", st.alice.do(t, "POST", room(public.str("room_id"), "ban"), map[string]any{"user_id": st.bob.id}))
	did("a display name", st.alice.do(t, "PUT", "/_matrix/client/v3/profile/"+url.PathEscape(st.alice.id)+"/displayname", map[string]any{"displayname": "Alice"}))
	did("a search for users", st.alice.do(t, "POST", "/_matrix/client/v3/user_directory/search", map[string]any{"search_term": "bob"}))
	did("an upload", st.alice.do(t, "POST", "/_matrix/media/v3/upload", []byte("hello")))
	did("is a name free", st.s.nobody().do(t, "GET", "/_matrix/client/v3/register/available?username=dora", nil))
	did("a registration", st.s.nobody().do(t, "POST", "/_matrix/client/v3/register", map[string]any{
		"username": "dora", "password": "only for tests", "auth": map[string]any{"type": "m.login.dummy"},
	}))
	saw = append(saw, "the own password: "+st.login(t, map[string]any{"type": "m.login.password", "password": "secret"}, "alice"))
	did("the admin leaves nothing", st.admin.do(t, "POST", room(public.str("room_id"), "leave"), map[string]any{}))
	did("what the server can", st.alice.do(t, "GET", "/_matrix/client/v3/capabilities", nil))
	return append(saw, st.effects(t, private.str("room_id"))...)
}

// effects is what is left of it: the state of the room, where bob is, and what bob's account knows.
func (st *thirdStage) effects(t *testing.T, id string) []string {
	t.Helper()
	membership := func() string {
		if id == "" {
			return "nowhere"
		}
		return st.alice.do(t, "GET", room(id, "state", "m.room.member", st.bob.id), nil).str("membership")
	}
	// A module that joins does so soon; where none does, bob stays invited.
	is := membership()
	for deadline := time.Now().Add(3 * time.Second); is == "invite" && time.Now().Before(deadline); is = membership() {
		testbed.Pause(t)
	}
	direct := st.bob.do(t, "GET", "/_matrix/client/v3/user/"+url.PathEscape(st.bob.id)+"/account_data/m.direct", nil)
	return []string{"bob is " + is, fmt.Sprintf("bob knows direct rooms: %d of %d", len(direct.body), direct.status), "state: " + st.kinds(t, id)}
}

// kinds lists the types of the room's state.
func (st *thirdStage) kinds(t *testing.T, id string) string {
	t.Helper()
	var events []struct{ Type string }
	if json.Unmarshal(st.alice.do(t, "GET", room(id, "state"), nil).raw, &events) != nil {
		return "none"
	}
	var types []string
	for _, e := range events {
		types = append(types, e.Type)
	}
	slices.Sort(types)
	return strings.Join(types, " ")
}
