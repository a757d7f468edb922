package main

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/dendrite/setup/config"
	"github.com/modulebus/modulebus/subjects"
)

// refused is what a client sees when the module of the tests refuses.
func refused(callback string) fields {
	return fields{"errcode": "ORG.EXAMPLE.EVIL", "error": callback + " refuses", "org.example.by": callback}
}

// wants compares what a client got.
func wants(t *testing.T, status int, body fields) func(int, fields) {
	t.Helper()
	return func(gotStatus int, got fields) {
		t.Helper()
		if diff := cmp.Diff(body, got); gotStatus != status || diff != "" {
			t.Errorf("%d; want %d; (-want +got)\n%s", gotStatus, status, diff)
		}
	}
}

func TestClientsSeeWhatModulesSay(t *testing.T) {
	g := newGate()
	s := found(t, gated, g.module())
	s.knows(subjects.UserMayCreateRoom)
	alice, bob, shy := s.register("alice"), s.register("bob"), s.register("shy")
	room := alice.createRoom(fields{"preset": "public_chat", "name": "Lobby", "topic": "all things"})
	failed := fields{"errcode": "M_UNKNOWN", "error": "Internal server error"}

	t.Run("user_may_create_room", func(t *testing.T) {
		wants(t, 403, refused("user_may_create_room"))(alice.try("POST", v3+"/createRoom", fields{"name": "evil"}))
		wants(t, 500, failed)(alice.try("POST", v3+"/createRoom", fields{"name": "broken"}))
		g.wasAsked(t, "user_may_create_room", alice.id)
	})
	t.Run("on_create_room", func(t *testing.T) {
		wants(t, 451, refused("on_create_room"))(alice.try("POST", v3+"/createRoom", fields{"topic": "nothing here"}))
		named := alice.createRoom(fields{"topic": "name me"})
		if got := alice.does("GET", v3+"/rooms/"+named+"/state/m.room.name", nil)["name"]; got != "Named by a module" {
			t.Errorf("the room is called %v", got)
		}
		g.wasAsked(t, "on_create_room", alice.id, "name me")
	})
	t.Run("user_may_join_room", func(t *testing.T) {
		unwelcome := s.register("unwelcome")
		wants(t, 403, refused("user_may_join_room"))(unwelcome.try("POST", v3+"/join/"+room, fields{}))
		bob.does("POST", v3+"/join/"+room, fields{})
		g.wasAsked(t, "user_may_join_room", bob.id, room)
	})
	t.Run("user_may_invite", func(t *testing.T) {
		private := alice.createRoom(fields{"preset": "private_chat"})
		wants(t, 403, refused("user_may_invite"))(alice.try("POST", v3+"/rooms/"+private+"/invite", fields{"user_id": "@evil:" + s.name}))
		alice.does("POST", v3+"/rooms/"+private+"/invite", fields{"user_id": shy.id})
		wants(t, 403, refused("user_may_invite"))(alice.try("POST", v3+"/createRoom", fields{"invite": []string{"@evil:" + s.name}}))
		shy.does("POST", v3+"/join/"+private, fields{})
		g.wasAsked(t, "user_may_join_room", shy.id, private, `"isInvited":`+"true")
	})
	t.Run("check_event_for_spam", func(t *testing.T) {
		wants(t, 403, refused("check_event_for_spam"))(alice.message(room, "evil things"))
		wants(t, 500, failed)(alice.message(room, "broken things"))
		if status, answer := alice.message(room, "hello"); status != 200 {
			t.Errorf("a harmless message: %d %v", status, answer)
		}
		if got := alice.bodies(room); !cmp.Equal(got, []any{"hello"}) {
			t.Errorf("the room has %v", got)
		}
	})
	t.Run("check_event_allowed", func(t *testing.T) {
		wants(t, 403, refused("check_event_allowed"))(alice.message(room, "a swear word"))
		status, answer := alice.message(room, "an unkind word")
		if status != 200 {
			t.Fatalf("%d %v", status, answer)
		}
		event := alice.does("GET", v3+"/rooms/"+room+"/event/"+url.PathEscape(answer["event_id"].(string)), nil)
		if got := event["content"].(map[string]any)["body"]; got != "a kind word" {
			t.Errorf("the event that the client was told of says %v", got)
		}
		g.wasAsked(t, "check_event_allowed", "an unkind word", "m.room.topic")
	})
	t.Run("user_may_send_state_event", func(t *testing.T) {
		wants(t, 403, refused("user_may_send_state_event"))(alice.try("PUT", v3+"/rooms/"+room+"/state/org.example.evil/", fields{"a": 1}))
	})
	t.Run("user_may_create_room_alias", func(t *testing.T) {
		alias := func(name string) string { return v3 + "/directory/room/" + url.PathEscape("#"+name+":"+s.name) }
		wants(t, 403, refused("user_may_create_room_alias"))(alice.try("PUT", alias("evil"), fields{"room_id": room}))
		alice.does("PUT", alias("good"), fields{"room_id": room})
		wants(t, 403, refused("user_may_create_room_alias"))(alice.try("POST", v3+"/createRoom", fields{"room_alias_name": "evil_too"}))
	})
	t.Run("user_may_publish_room", func(t *testing.T) {
		own := shy.createRoom(fields{"preset": "public_chat"})
		wants(t, 403, refused("user_may_publish_room"))(shy.try("PUT", v3+"/directory/list/room/"+own, fields{"visibility": "public"}))
		alice.does("PUT", v3+"/directory/list/room/"+room, fields{"visibility": "public"})
		wants(t, 403, refused("user_may_publish_room"))(shy.try("POST", v3+"/createRoom", fields{"visibility": "public"}))
	})
	t.Run("check_registration_for_spam", func(t *testing.T) {
		wants(t, 429, fields{"errcode": "M_UNKNOWN", "error": "Rate limited"})(s.tryRegister("evilguy"))
		g.wasAsked(t, "check_registration_for_spam", "alice", "a client", "127.0.0.1")
	})
	t.Run("on_user_registration", func(t *testing.T) { g.wasAsked(t, "on_user_registration", alice.id) })
	t.Run("check_login_for_spam", func(t *testing.T) {
		login := fields{
			"type": "m.login.password", "identifier": fields{"type": "m.id.user", "user": "bob"}, "password": "a long password",
			"initial_device_display_name": "evil device",
		}
		wants(t, 403, refused("check_login_for_spam"))(user{site: s}.try("POST", v3+"/login", login))
		login["initial_device_display_name"] = "phone"
		user{site: s}.does("POST", v3+"/login", login)
		g.wasAsked(t, "check_login_for_spam", bob.id, "phone")
		g.wasAsked(t, "on_user_login", bob.id)
	})
	t.Run("is_user_expired", func(t *testing.T) {
		old := s.register("oldie")
		want := fields{"errcode": "ORG_MATRIX_EXPIRED_ACCOUNT", "error": "User account has expired"}
		wants(t, 403, want)(old.try("GET", v3+"/account/whoami", nil))
		old.does("POST", v3+"/logout", fields{})
	})
	t.Run("auth_checkers", func(t *testing.T) {
		login := func(kind, key, secret string) fields {
			return fields{"type": kind, "identifier": fields{"type": "m.id.user", "user": "bob"}, key: secret}
		}
		in := user{site: s}.does("POST", v3+"/login", login("m.login.password", "password", "open sesame"))
		if in["user_id"] != bob.id {
			t.Errorf("logged in as %v", in)
		}
		g.wasAsked(t, "on_auth_checkers_login", bob.id)
		if status, _ := (user{site: s}).try("POST", v3+"/login", login("m.login.password", "password", "a wrong one")); status != 403 {
			t.Errorf("a wrong password: %d", status)
		}
		if in := (user{site: s}).does("POST", v3+"/login", login("org.example.ticket", "ticket", "sesame")); in["user_id"] != bob.id {
			t.Errorf("logged in as %v", in)
		}
		if status, _ := (user{site: s}).try("POST", v3+"/login", login("org.example.ticket", "ticket", "mustard")); status != 403 {
			t.Errorf("a wrong ticket: %d", status)
		}
		flows := user{site: s}.does("GET", v3+"/login", nil)["flows"]
		if want := []any{map[string]any{"type": "m.login.password"}, map[string]any{"type": "org.example.ticket"}}; !cmp.Equal(flows, want) {
			t.Errorf("flows %v; want %v", flows, want)
		}
	})
	t.Run("on_new_event", func(t *testing.T) {
		eventually(t, "the module has heard of a message", func() bool { return g.heard("on_new_event", "hello", "m.room.create") })
		if g.heard("on_new_event", "evil things") {
			t.Error("the module has heard of a message that was refused")
		}
	})
	t.Run("a page", func(t *testing.T) {
		for path, want := range map[string]string{"/_synapse/client/gate?name=alice": "a page for alice", "/gate": "another page"} {
			if status, answer := (user{site: s}).try("GET", path, nil); status != 200 || answer["text"] != want {
				t.Errorf("%s: %d %v", path, status, answer)
			}
		}
		if status, _ := (user{site: s}).try("GET", "/nothing", nil); status != 404 {
			t.Errorf("a path that nobody has: %d", status)
		}
	})
}

func TestOtherServersSeeWhatModulesSay(t *testing.T) {
	g := newGate()
	here := found(t, gated, g.module())
	here.knows(subjects.ShouldDropFederatedEvent)
	there := found(t, "  []\n", newGate().module())
	alice, carol := here.register("alice"), there.register("carol")
	room := alice.createRoom(fields{"preset": "public_chat"})
	carol.does("POST", v3+"/join/"+room+"?server_name="+here.name, fields{})

	t.Run("federated_user_may_invite", func(t *testing.T) {
		far := carol.createRoom(fields{"preset": "private_chat", "name": "evil den"})
		if status, answer := carol.try("POST", v3+"/rooms/"+far+"/invite", fields{"user_id": alice.id}); status == 200 {
			t.Errorf("the invite was taken: %v", answer)
		}
		g.wasAsked(t, "federated_user_may_invite", far, carol.id)
		if !g.heard("should_drop_federated_event", far) {
			t.Error("should_drop_federated_event was not asked about the invite")
		}
		nice := carol.createRoom(fields{"preset": "private_chat"})
		carol.does("POST", v3+"/rooms/"+nice+"/invite", fields{"user_id": alice.id})
		g.wasAsked(t, "user_may_invite", nice, carol.id, alice.id)
		alice.does("POST", v3+"/join/"+nice, fields{})
		g.wasAsked(t, "user_may_join_room", nice, alice.id, "true")
	})
	t.Run("messages", func(t *testing.T) {
		for _, text := range []string{"first", "an evil one", "a dropped one", "last"} {
			if status, answer := carol.message(room, text); status != 200 {
				t.Fatalf("%s: %d %v", text, status, answer)
			}
		}
		eventually(t, "the last message has arrived", func() bool {
			got := alice.bodies(room)
			return len(got) > 0 && got[0] == "last"
		})
		g.wasAsked(t, "check_event_for_spam", "an evil one", carol.id)
		g.wasAsked(t, "should_drop_federated_event", "a dropped one", carol.id)
		if got := alice.bodies(room); !cmp.Equal(got, []any{"last", nil, nil, "first"}) {
			t.Errorf("here are %v; want what is unwanted without its content", got)
		}
	})
	t.Run("a join through another server", func(t *testing.T) {
		den := carol.createRoom(fields{"preset": "public_chat", "room_alias_name": "den"})
		joined := alice.does("POST", v3+"/join/"+url.PathEscape("#den:"+there.name), fields{})
		if joined["room_id"] != den {
			t.Errorf("joined %v; want %v", joined, den)
		}
		g.wasAsked(t, "user_may_join_room", alice.id, den)
		unwelcome := here.register("unwelcome")
		wants(t, 403, refused("user_may_join_room"))(unwelcome.try("POST", v3+"/join/"+url.PathEscape("#den:"+there.name), fields{}))
	})
}

// The other way round: the server that Dendrite runs has the modules in it.
func TestModulesJoinTheNATSThatDendriteRuns(t *testing.T) {
	g := newGate()
	listener, name := reserve(t)
	natsListener, _ := reserve(t)
	address := natsListener.Addr().String()
	_ = natsListener.Close()
	d := prepare(t, name, "url: 'nats://"+address+"'", gated)
	file := filepath.Join(t.TempDir(), "nats.conf")
	text := string(d.prints("nats-config")) + "listen: '" + address + "'\nmax_payload: 16MiB\njetstream {store_dir: '" + t.TempDir() + "'}\n"
	text = strings.ReplaceAll(text, `dir: "modulebus-accounts"`, `dir: "`+t.TempDir()+`"`)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	admin, asks := d.credentials("--admin"), d.credentials("--homeserver")
	cfg, p := configure(t, name)
	cfg.Global.JetStream.Credentials = config.Path(admin)
	opened := make(chan *homeserver, 1)
	go func() { // Dendrite waits for busd, and busd for Dendrite's NATS.
		h, err := open(t.Context(), p, cfg, options{natsConfig: file, credentials: asks})
		if err != nil {
			t.Error(err)
		}
		opened <- h
	}()
	d.start().run(name, g.module())
	s := serve(t, listener, name, d, <-opened)
	s.knows(subjects.UserMayCreateRoom)
	alice := s.register("alice")
	wants(t, 403, refused("user_may_create_room"))(alice.try("POST", v3+"/createRoom", fields{"name": "evil"}))
	alice.message(alice.createRoom(fields{}), "hello")
	eventually(t, "the module has heard of a message", func() bool { return g.heard("on_new_event", "hello") })
}

func TestDendriteWithoutANATSForModulesDoesNotStart(t *testing.T) {
	cfg, p := configure(t, "localhost")
	_, err := open(t.Context(), p, cfg, options{})
	if err == nil || !strings.Contains(err.Error(), "jetstream.addresses") {
		t.Errorf("%v; want it to say what to set", err)
	}
}
