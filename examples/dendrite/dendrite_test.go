package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/matrix-org/dendrite/setup/config"
	"github.com/modulebus/modulebus/subjects"
	"maunium.net/go/mautrix"
	matrixevent "maunium.net/go/mautrix/event"
	mid "maunium.net/go/mautrix/id"
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
	room := alice.createRoom(mautrix.ReqCreateRoom{Preset: "public_chat", Name: "Lobby", Topic: "all things"})
	failed := fields{"errcode": "M_UNKNOWN", "error": "Internal server error"}
	bobsName, ctx := mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: "bob"}, t.Context()

	t.Run("user_may_create_room", func(t *testing.T) {
		wants(t, 403, refused("user_may_create_room"))(saw(alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{Name: "evil"})))
		wants(t, 500, failed)(saw(alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{Name: "broken"})))
		g.wasAsked(t, "user_may_create_room", alice.id)
	})
	t.Run("on_create_room", func(t *testing.T) {
		wants(t, 451, refused("on_create_room"))(saw(alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{Topic: "nothing here"})))
		named := alice.createRoom(mautrix.ReqCreateRoom{Topic: "name me"})
		var got matrixevent.RoomNameEventContent
		if err := alice.StateEvent(ctx, named, matrixevent.StateRoomName, "", &got); err != nil || got.Name != "Named by a module" {
			t.Errorf("the room is called %v, %v", got.Name, err)
		}
		g.wasAsked(t, "on_create_room", alice.id, "name me")
	})
	t.Run("user_may_join_room", func(t *testing.T) {
		unwelcome := s.register("unwelcome")
		wants(t, 403, refused("user_may_join_room"))(saw(unwelcome.JoinRoom(ctx, string(room), nil)))
		bob.join(string(room))
		g.wasAsked(t, "user_may_join_room", bob.id, string(room))
	})
	t.Run("user_may_invite", func(t *testing.T) {
		private := alice.createRoom(mautrix.ReqCreateRoom{Preset: "private_chat"})
		wants(t, 403, refused("user_may_invite"))(alice.invite(private, "@evil:"+s.name))
		if status, answer := alice.invite(private, shy.id); status != 200 {
			t.Errorf("%d %v", status, answer)
		}
		wants(t, 403, refused("user_may_invite"))(saw(alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{Invite: []mid.UserID{mid.UserID("@evil:" + s.name)}})))
		shy.join(string(private))
		g.wasAsked(t, "user_may_join_room", shy.id, string(private), `"isInvited":`+"true")
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
		sent := of[*matrixevent.Event](t)(alice.GetEvent(ctx, room, mid.EventID(answer["event_id"].(string))))
		if got := sent.Content.Raw["body"]; got != "a kind word" {
			t.Errorf("the event that the client was told of says %v", got)
		}
		g.wasAsked(t, "check_event_allowed", "an unkind word", "m.room.topic")
	})
	t.Run("user_may_send_state_event", func(t *testing.T) {
		wants(t, 403, refused("user_may_send_state_event"))(saw(alice.SendStateEvent(ctx, room, matrixevent.NewEventType("org.example.evil"), "", fields{"a": 1})))
	})
	t.Run("user_may_create_room_alias", func(t *testing.T) {
		alias := func(name string) (int, fields) {
			return saw(alice.CreateAlias(ctx, mid.NewRoomAlias(name, s.name), room))
		}
		wants(t, 403, refused("user_may_create_room_alias"))(alias("evil"))
		wants(t, 200, fields{})(alias("good"))
		wants(t, 403, refused("user_may_create_room_alias"))(saw(alice.CreateRoom(ctx, &mautrix.ReqCreateRoom{RoomAliasName: "evil_too"})))
	})
	t.Run("user_may_publish_room", func(t *testing.T) {
		own := shy.createRoom(mautrix.ReqCreateRoom{Preset: "public_chat"})
		wants(t, 403, refused("user_may_publish_room"))(shy.try("PUT", v3+"/directory/list/room/"+string(own), fields{"visibility": "public"}))
		alice.does("PUT", v3+"/directory/list/room/"+string(room), fields{"visibility": "public"})
		wants(t, 403, refused("user_may_publish_room"))(saw(shy.CreateRoom(ctx, &mautrix.ReqCreateRoom{Visibility: "public"})))
	})
	t.Run("check_registration_for_spam", func(t *testing.T) {
		wants(t, 429, fields{"errcode": "M_UNKNOWN", "error": "Rate limited"})(s.tryRegister("evilguy"))
		g.wasAsked(t, "check_registration_for_spam", "alice", "a client", "127.0.0.1")
	})
	t.Run("on_user_registration", func(t *testing.T) { g.wasAsked(t, "on_user_registration", alice.id) })
	t.Run("check_login_for_spam", func(t *testing.T) {
		login := func(device string) (int, fields) {
			return saw(s.nobody().Login(ctx, &mautrix.ReqLogin{
				Type: mautrix.AuthTypePassword, Identifier: bobsName, Password: "a long password", InitialDeviceDisplayName: device,
			}))
		}
		wants(t, 403, refused("check_login_for_spam"))(login("evil device"))
		if status, answer := login("phone"); status != 200 {
			t.Errorf("%d %v", status, answer)
		}
		g.wasAsked(t, "check_login_for_spam", bob.id, "phone")
		g.wasAsked(t, "on_user_login", bob.id)
	})
	t.Run("is_user_expired", func(t *testing.T) {
		old := s.register("oldie")
		want := fields{"errcode": "ORG_MATRIX_EXPIRED_ACCOUNT", "error": "User account has expired"}
		wants(t, 403, want)(saw(old.Whoami(ctx)))
		of[*mautrix.RespLogout](t)(old.Logout(ctx))
	})
	t.Run("auth_checkers", func(t *testing.T) {
		password := func(secret string) (int, fields) {
			return saw(s.nobody().Login(ctx, &mautrix.ReqLogin{Type: mautrix.AuthTypePassword, Identifier: bobsName, Password: secret}))
		}
		ticket := func(secret string) (int, fields) { // The client has no fields of others.
			return s.nobody().try("POST", v3+"/login", fields{"type": "org.example.ticket", "identifier": bobsName, "ticket": secret})
		}
		if status, in := password("open sesame"); status != 200 || in["user_id"] != bob.id {
			t.Errorf("%d, logged in as %v", status, in)
		}
		g.wasAsked(t, "on_auth_checkers_login", bob.id)
		if status, _ := password("a wrong one"); status != 403 {
			t.Errorf("a wrong password: %d", status)
		}
		if status, in := ticket("sesame"); status != 200 || in["user_id"] != bob.id {
			t.Errorf("%d, logged in as %v", status, in)
		}
		if status, _ := ticket("mustard"); status != 403 {
			t.Errorf("a wrong ticket: %d", status)
		}
		flows := of[*mautrix.RespLoginFlows](t)(s.nobody().GetLoginFlows(ctx)).Flows
		if want := []mautrix.LoginFlow{{Type: mautrix.AuthTypePassword}, {Type: "org.example.ticket"}}; !cmp.Equal(flows, want) {
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
			if status, answer := s.nobody().try("GET", path, nil); status != 200 || answer["text"] != want {
				t.Errorf("%s: %d %v", path, status, answer)
			}
		}
		if status, _ := s.nobody().try("GET", "/nothing", nil); status != 404 {
			t.Errorf("a path that nobody has: %d", status)
		}
	})
}

func TestOtherServersSeeWhatModulesSay(t *testing.T) {
	g := newGate()
	here := found(t, gated, g.module())
	here.knows(subjects.ShouldDropFederatedEvent)
	there := found(t, "  []\n", newGate().module())
	alice, carol, ctx := here.register("alice"), there.register("carol"), t.Context()
	room := alice.createRoom(mautrix.ReqCreateRoom{Preset: "public_chat"})
	carol.join(string(room), here.name)

	t.Run("federated_user_may_invite", func(t *testing.T) {
		far := carol.createRoom(mautrix.ReqCreateRoom{Preset: "private_chat", Name: "evil den"})
		if status, answer := carol.invite(far, alice.id); status == 200 {
			t.Errorf("the invite was taken: %v", answer)
		}
		g.wasAsked(t, "federated_user_may_invite", string(far), carol.id)
		if !g.heard("should_drop_federated_event", string(far)) {
			t.Error("should_drop_federated_event was not asked about the invite")
		}
		nice := carol.createRoom(mautrix.ReqCreateRoom{Preset: "private_chat"})
		if status, answer := carol.invite(nice, alice.id); status != 200 {
			t.Errorf("%d %v", status, answer)
		}
		g.wasAsked(t, "user_may_invite", string(nice), carol.id, alice.id)
		alice.join(string(nice))
		g.wasAsked(t, "user_may_join_room", string(nice), alice.id, "true")
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
		den := carol.createRoom(mautrix.ReqCreateRoom{Preset: "public_chat", RoomAliasName: "den"})
		if joined := alice.join("#den:" + there.name); joined != den {
			t.Errorf("joined %v; want %v", joined, den)
		}
		g.wasAsked(t, "user_may_join_room", alice.id, string(den))
		unwelcome := here.register("unwelcome")
		wants(t, 403, refused("user_may_join_room"))(saw(unwelcome.JoinRoom(ctx, "#den:"+there.name, nil)))
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
	wants(t, 403, refused("user_may_create_room"))(saw(alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Name: "evil"})))
	alice.message(alice.createRoom(mautrix.ReqCreateRoom{}), "hello")
	eventually(t, "the module has heard of a message", func() bool { return g.heard("on_new_event", "hello") })
}

func TestDendriteWithoutANATSForModulesDoesNotStart(t *testing.T) {
	cfg, p := configure(t, "localhost")
	_, err := open(t.Context(), p, cfg, options{})
	if err == nil || !strings.Contains(err.Error(), "jetstream.addresses") {
		t.Errorf("%v; want it to say what to set", err)
	}
}
