//go:build integration

package synapse_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/integration/testbed"
)

// What Synapse asks when, and what it does not ask, where one would guess otherwise. docs/synapse.md and the pages of
// callbacks say it with Synapse's version; a Synapse that changes it fails here.

// asked is one call of a callback: its name, and what the request is about.
type asked struct{ callback, about, sender string }

// String is the name, and the type of the event.
func (a asked) String() string { return strings.TrimSuffix(a.callback+" "+a.about, " ") }

// verdicts is what callbacks are called that decide of rooms and events; on_create_room does, too.
var verdicts = regexp.MustCompile(`^(check_|user_may_|on_create_room|add_field_)`)

// questions are what modules are asked of that while act happens, in order.
func (st *stage) questions(t *testing.T, act func()) (all []asked) {
	t.Helper()
	before := len(st.recorded(t))
	act()
	for _, line := range st.recorded(t)[before:] {
		if verdicts.MatchString(line.callback) {
			all = append(all, line)
		}
	}
	return all
}

// about are those questions about the callback.
func about(all []asked, callback string) (found []asked) {
	for _, a := range all {
		if a.callback == callback {
			found = append(found, a)
		}
	}
	return found
}

func (st *stage) recorded(t *testing.T) (all []asked) {
	t.Helper()
	text, err := os.ReadFile(st.record)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var c struct {
			Callback string
			Request  struct {
				Event struct {
					JSON struct{ Type, Sender string }
				}
				EventType string `json:"event_type"`
				UserID    string `json:"user_id"`
				Inviter   string
			}
		}
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, asked{
			c.Callback, c.Request.Event.JSON.Type + c.Request.EventType,
			c.Request.Event.JSON.Sender + c.Request.UserID + c.Request.Inviter,
		})
	}
	return all
}

// refuses has modules refuse requests with the text in them.
func (st *stage) refuses(t *testing.T, text string, callbacks ...string) {
	t.Helper()
	script := map[string]string{}
	for _, c := range callbacks {
		script[c] = fmt.Sprintf(`{"when": %q, "reply": {"refusal": {"error": "not this one"}}}`, text)
	}
	st.say(t, script)
}

const refusedByModule = `403 M_FORBIDDEN "not this one"`

// setState has the user set the state event of that type, without a state key.
func (u user) setState(t *testing.T, where, eventType string, content map[string]any) string {
	t.Helper()
	return u.do(t, "PUT", room(where, "state", eventType, ""), content).String()
}

// lastJoined is the room that the user joined between two looks.
func (u user) lastJoined(t *testing.T, act func()) string {
	t.Helper()
	rooms := func() []any {
		all, _ := u.must(t, "GET", "/_matrix/client/v3/joined_rooms", nil).body["joined_rooms"].([]any)
		return all
	}
	before := rooms()
	act()
	for _, r := range rooms() {
		if !slices.Contains(before, r) {
			return r.(string)
		}
	}
	return ""
}

// state lists the types of the room's state events.
func (u user) state(t *testing.T, where string) (types []string) {
	t.Helper()
	var events []struct{ Type string }
	if err := json.Unmarshal(u.must(t, "GET", room(where, "state"), nil).raw, &events); err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		types = append(types, e.Type)
	}
	slices.Sort(types)
	return types
}

// TestSynapseAsks has one Synapse with a module that registers every callback, and one that counts what is asked at once.
//
//nolint:paralleltest // Its scenes play on one stage.
func TestSynapseAsks(t *testing.T) {
	st := busStage(t, `
max_event_delay_duration: 1d
media_upload_limits: [{time_period: 1d, max_size: 15}]
`, `
  - {module: together.Together, config: {}}`)
	st.s.start(t)
	st.populate(t)
	for _, scene := range []struct {
		name string
		play func(*testing.T, *stage)
	}{
		{"a new room in this order", newRoomInOrder},
		{"an upgrade before user_may_create_room", upgradeInOrder},
		{"about no event of a new room whether it is spam", noSpamCheckOfANewRoom},
		{"a state event in this order", stateEventInOrder},
		{"not about what server admins set and whom they invite", notAboutAdmins},
		{"whether one may join when a name changes", joinWhenANameChanges},
		{"in the midst of createRoom, and a refusal leaves a room", refusalLeavesARoom},
		{"about a delayed event when it is due", delayedEvent},
		{"about each event that a client is shown", unsignedOfEachEvent},
		{"about one event of a page at a time", unsignedOneAtATime},
		{"for upload limits", uploadLimits},
		{"and fields of a refusal win over its code and text", fieldsWin},
	} {
		t.Run(scene.name, func(t *testing.T) {
			scene.play(t, st)
			st.say(t, nil)
		})
	}
}

func texts(all []asked) (found []string) {
	for _, a := range all {
		found = append(found, a.String())
	}
	return found
}

func isAsked(t *testing.T, all []asked, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, texts(all)); diff != "" {
		t.Errorf("what modules are asked (-want +got):\n%s", diff)
	}
}

func newRoomInOrder(t *testing.T, st *stage) {
	var id string
	all := st.questions(t, func() {
		id = st.alice.createRoom(t, map[string]any{
			"preset": "private_chat", "name": "A room", "topic": "A topic", "room_alias_name": st.unique("alias"), "invite": []string{st.bob.id},
			"initial_state": []any{map[string]any{"type": "org.example.x", "content": map[string]any{}}},
		})
	})
	isAsked(t, all,
		"on_create_room", "user_may_create_room", "check_event_allowed m.room.create",
		"check_visibility_can_be_modified", "user_may_create_room_alias",
		"check_event_allowed m.room.member", "check_event_allowed m.room.power_levels",
		"check_event_allowed m.room.canonical_alias", "check_event_allowed m.room.join_rules",
		"check_event_allowed m.room.history_visibility", "check_event_allowed m.room.guest_access", "check_event_allowed org.example.x",
		"check_event_allowed m.room.name", "check_event_allowed m.room.topic",
		"user_may_invite", "check_event_allowed m.room.member")
	const with = "27 with on_new_event"
	if got := eventually(t, with, func() string {
		return fmt.Sprint(len(all)+len(st.calls(t, "on_new_event", id)), " with on_new_event")
	}); got != with {
		t.Errorf("a new room is %s questions", got)
	}
}

func upgradeInOrder(t *testing.T, st *stage) {
	for _, u := range []user{st.alice, st.admin} { // Of what server admins do, this is asked.
		old := u.createRoom(t, map[string]any{"name": "A room"})
		all := st.questions(t, func() {
			u.must(t, "POST", room(old, "upgrade"), map[string]any{"new_version": "12"})
		})
		isAsked(t, all[:3], "check_event_allowed m.room.create", "check_event_allowed m.room.tombstone", "user_may_create_room")
		if n := len(about(all, "on_create_room")); n > 0 {
			t.Error("on_create_room is asked about an upgrade")
		}
		for _, a := range about(all, "check_event_for_spam") {
			if a.about != "m.room.power_levels" { // Of the old room, and the new one's after it was made.
				t.Errorf("%v was asked about what an upgrade copies", a)
			}
		}
		calls := st.calls(t, "user_may_create_room", u.id)
		var request struct {
			RoomConfig map[string]any `json:"room_config"`
		}
		if err := json.Unmarshal(calls[len(calls)-1].Request, &request); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"creation_content", "initial_state"}, slices.Sorted(maps.Keys(request.RoomConfig))); diff != "" {
			t.Errorf("room_config of an upgrade (-want +got):\n%s", diff)
		}
	}
}

func noSpamCheckOfANewRoom(t *testing.T, st *stage) {
	st.refuses(t, "viagra", "check_event_for_spam")
	var id string
	all := st.questions(t, func() {
		id = st.alice.createRoom(t, map[string]any{
			"name": "viagra", "topic": "viagra",
			"initial_state": []any{map[string]any{"type": "org.example.x", "content": map[string]any{"about": "viagra"}}},
		})
	})
	if n := len(about(all, "check_event_for_spam")); n > 0 {
		t.Errorf("check_event_for_spam was asked %d times about a new room", n)
	}
	if got := st.alice.must(t, "GET", room(id, "state", "m.room.topic", ""), nil).str("topic"); got != "viagra" {
		t.Errorf("the topic is %q", got)
	}
	if got := st.alice.setState(t, id, "m.room.topic", map[string]any{"topic": "more viagra"}); got != refusedByModule {
		t.Errorf("the same topic later: %s", got)
	}
	if got := st.alice.do(t, "PUT", room(id, "send", "m.room.message", st.unique("txn")), message("viagra")).String(); got != refusedByModule {
		t.Errorf("as a message: %s", got)
	}
}

func stateEventInOrder(t *testing.T, st *stage) {
	id := st.alice.createRoom(t, nil)
	topic := map[string]any{"topic": st.unique("topic")}
	set := func(u user, key, kind string, content map[string]any) func() {
		return func() { u.must(t, "PUT", room(id, "state", kind, key), content) }
	}
	first := []string{"user_may_send_state_event m.room.topic", "check_event_allowed m.room.topic", "check_event_for_spam m.room.topic"}
	isAsked(t, st.questions(t, set(st.alice, "", "m.room.topic", topic)), first...)
	if st.told(t, "on_new_event", topic["topic"].(string)) != "told" {
		t.Error("on_new_event is not told")
	}
	isAsked(t, st.questions(t, set(st.alice, "", "m.room.topic", topic)), first...) // It is the same, and no event.
	st.bob.must(t, "POST", room(id, "join"), map[string]any{})
	isAsked(t, st.questions(t, set(st.bob, st.bob.id, "m.room.member", map[string]any{"membership": "join", "displayname": "B"})),
		"user_may_send_state_event m.room.member", "user_may_join_room", "check_event_allowed m.room.member")
}

func notAboutAdmins(t *testing.T, st *stage) {
	id := st.alice.createRoom(t, nil)
	st.admin.must(t, "POST", room(id, "join"), map[string]any{})
	st.alice.must(t, "PUT", room(id, "state", "m.room.power_levels", ""), map[string]any{"users": map[string]any{st.admin.id: 100}})
	public := st.bob.createRoom(t, nil)
	st.refuses(t, "", "user_may_send_state_event", "user_may_invite", "user_may_create_room", "user_may_join_room")
	for _, u := range []user{st.alice, st.admin} {
		want := map[string]string{st.alice.id: "403", st.admin.id: "200"}[u.id]
		for what, act := range map[string]func() string{
			"set a topic": func() string { return u.setState(t, id, "m.room.topic", map[string]any{"topic": st.unique("topic")}) },
			"invite": func() string {
				return u.do(t, "POST", room(id, "invite"), map[string]any{"user_id": "@" + st.unique("new") + ":" + st.s.name}).String()
			},
			"join":          func() string { return u.do(t, "POST", room(public, "join"), map[string]any{}).String() },
			"create a room": func() string { return u.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{}).String() },
		} {
			var got string
			all := st.questions(t, func() { got = act() })
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s to %s: %s, want %s", u.id, what, got, want)
			}
			for _, a := range all {
				if a.sender == st.admin.id && strings.HasPrefix(a.callback, "user_may_") {
					t.Errorf("%v was asked about an admin", a)
				}
			}
		}
	}
}

func joinWhenANameChanges(t *testing.T, st *stage) {
	u := st.newUser(t)
	var rooms []string
	for range 3 {
		rooms = append(rooms, u.createRoom(t, nil))
	}
	rename := func(name string) string {
		return u.do(t, "PUT", "/_matrix/client/v3/profile/"+url.PathEscape(u.id)+"/displayname", map[string]any{"displayname": name}).String()
	}
	shown := func() (names []string) {
		for _, r := range rooms {
			names = append(names, u.must(t, "GET", room(r, "state", "m.room.member", u.id), nil).str("displayname"))
		}
		return names
	}
	// asks renames, and waits until three questions were asked, which come after the response.
	asks := func(name string) (answer string, all []asked) {
		before := len(st.recorded(t))
		answer = rename(name)
		testbed.Eventually(t, "modules are asked about each room", func() bool {
			all = about(st.recorded(t)[before:], "user_may_join_room")
			return len(all) >= len(rooms)
		})
		return answer, all
	}
	asks("One")
	testbed.Eventually(t, "rooms show the name", func() bool { return slices.Equal(shown(), []string{"One", "One", "One"}) })
	for what, script := range map[string]string{"refuses": `{"reply": {"refusal": {}}}`, "fails": fails} {
		st.say(t, map[string]string{"user_may_join_room": script})
		answer, all := asks("Two")
		if answer != "200" || len(all) != len(rooms) {
			t.Errorf("the module %s: %s, after %d questions", what, answer, len(all))
		}
		if got := u.must(t, "GET", "/_matrix/client/v3/profile/"+url.PathEscape(u.id)+"/displayname", nil).str("displayname"); got != "Two" {
			t.Errorf("the module %s, and the profile says %q", what, got)
		}
		if diff := cmp.Diff([]string{"One", "One", "One"}, shown()); diff != "" {
			t.Errorf("the module %s, and the rooms say (-want +got):\n%s", what, diff)
		}
	}
	if n := len(st.calls(t, "user_may_join_room", `"is_invited":true`)); n > 0 {
		t.Errorf("%d questions say that the user is invited", n)
	}
}

func refusalLeavesARoom(t *testing.T, st *stage) {
	body := map[string]any{"topic": "unwanted topic", "invite": []string{st.bob.id}}
	for callback, c := range map[string]struct {
		text  string
		state []string
	}{
		"check_event_allowed": {"unwanted topic", []string{"m.room.create", "m.room.member"}},
		"user_may_invite":     {st.bob.id, nil},
	} {
		st.refuses(t, c.text, callback)
		var got reply
		id := st.alice.lastJoined(t, func() { got = st.alice.do(t, "POST", "/_matrix/client/v3/createRoom", body) })
		if got.status != 403 || id == "" {
			t.Errorf("%s refuses within createRoom: the client saw %v, and is in room %q", callback, got, id)
			continue
		}
		state := st.alice.state(t, id)
		if c.state != nil && !slices.Equal(state, c.state) || c.state == nil && !slices.Contains(state, "m.room.topic") {
			t.Errorf("%s refuses within createRoom and leaves a room with %v", callback, state)
		}
	}
	st.refuses(t, "", "user_may_create_room")
	if id := st.alice.lastJoined(t, func() { st.alice.do(t, "POST", "/_matrix/client/v3/createRoom", body) }); id != "" {
		t.Error("user_may_create_room refuses, and leaves a room")
	}
}

func delayedEvent(t *testing.T, st *stage) {
	id := st.alice.createRoom(t, nil)
	path := func(kind string) string {
		return room(id, kind, "org.example.late") + "/" + st.unique("txn") + "?org.matrix.msc4140.delay=700"
	}
	scheduled := func() int {
		r := st.alice.must(t, "GET", "/_matrix/client/unstable/org.matrix.msc4140/delayed_events", nil)
		events, _ := r.body["delayed_events"].([]any)
		return len(events)
	}
	shown := func(text string) bool {
		return strings.Contains(string(st.alice.must(t, "GET", room(id, "messages")+"?dir=b&limit=50", nil).raw), text)
	}
	for what, c := range map[string]struct {
		entry string
		shown bool
	}{"allowed": {silent, true}, "refused": {`{"reply": {"refusal": {}}}`, false}, "failed": {fails, false}} {
		text := st.unique("late " + what)
		st.say(t, map[string]string{"check_event_for_spam": c.entry})
		var got reply
		all := st.questions(t, func() { got = st.alice.do(t, "PUT", path("send"), message(text)) })
		if got.str("delay_id") == "" || len(all) > 0 {
			t.Errorf("when it is scheduled: %v, and modules are asked %v", got, all)
		}
		if st.told(t, "check_event_for_spam", text) != "told" {
			t.Errorf("%s: no module is asked when it is due", what)
		}
		eventually(t, "gone", func() string { return map[bool]string{true: "gone"}[scheduled() == 0] })
		if c.shown {
			eventually(t, "shown", func() string { return map[bool]string{true: "shown"}[shown(text)] })
		}
		if n := scheduled(); n != 0 || shown(text) != c.shown {
			t.Errorf("%s: %d are scheduled, shown %v", what, n, shown(text))
		}
	}
	st.say(t, nil)
	text := st.unique("late state")
	all := st.questions(t, func() { st.alice.must(t, "PUT", path("state"), message(text)) })
	isAsked(t, all, "user_may_send_state_event org.example.late")
	all = st.questions(t, func() { st.told(t, "check_event_for_spam", text) })
	isAsked(t, all, "check_event_allowed org.example.late", "check_event_for_spam org.example.late")
}

// tenMessages makes a room with as many messages.
func (st *stage) tenMessages(t *testing.T) (id string) {
	t.Helper()
	id = st.alice.createRoom(t, nil)
	for range 10 {
		st.alice.must(t, "PUT", room(id, "send", "m.room.message", st.unique("txn")), message("hello"))
	}
	return id
}

// page is what the user is shown of the room, the newest first.
func (u user) page(t *testing.T, where string) (events []any) {
	t.Helper()
	events, _ = u.must(t, "GET", room(where, "messages")+"?dir=b&limit=50", nil).body["chunk"].([]any)
	return events
}

func unsignedOfEachEvent(t *testing.T, st *stage) {
	id := st.tenMessages(t)
	for range 2 { // Nothing is kept from the first time.
		var events []any
		all := st.questions(t, func() { events = st.alice.page(t, id) })
		if n := len(about(all, "add_field_to_unsigned_callback")); n != len(events) || n < 10 {
			t.Errorf("%d questions about a page of %d messages", n, len(events))
		}
	}
}

// unsignedOneAtATime reads in each event how many questions about the room were under way while the one about it was.
func unsignedOneAtATime(t *testing.T, st *stage) {
	events := st.alice.page(t, st.tenMessages(t))
	if len(events) < 10 {
		t.Errorf("a page of %d messages", len(events))
	}
	for _, e := range events {
		unsigned, _ := e.(map[string]any)["unsigned"].(map[string]any)
		if got := unsigned["org.example.under_way"]; got != 1.0 {
			t.Errorf("%v questions at once, want 1; the event is %v", got, e)
		}
	}
}

func uploadLimits(t *testing.T, st *stage) {
	limit := func(limits string) string {
		return `{"reply": {"limits": {"limits": ` + limits + `}}}`
	}
	for _, c := range []struct{ name, entry, want string }{
		{"no opinion is the file's limit", silent, "403"},
		{"an empty list is no limit", limit(`[]`), "200"},
		{"one that fits is no limit", limit(`[{"max_bytes": 100, "time_period_ms": 1000}]`), "200"},
		{"one that is exceeded", limit(`[{"max_bytes": 10, "time_period_ms": 1000}]`), "403"},
	} {
		st.say(t, map[string]string{"get_media_upload_limits_for_user": c.entry})
		if got := st.newUser(t).do(t, "POST", "/_matrix/media/v3/upload", []byte(strings.Repeat("x", 20))).String(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func fieldsWin(t *testing.T, st *stage) {
	const refusal = `{"reply": {"refusal": {"errcode": "M_FORBIDDEN",
		"additional_fields": {"errcode": "ORG.X", "error": "mine", "retry_after_ms": 5}}}}`
	st.say(t, map[string]string{"check_event_for_spam": refusal, "user_may_send_state_event": refusal})
	got := st.alice.do(t, "PUT", room(st.room, "send", "m.room.message", st.unique("txn")), message("x")).String()
	if want := `403 ORG.X "mine" {"retry_after_ms":5}`; got != want {
		t.Errorf("check_event_for_spam: %s, want %s", got, want)
	}
	got = st.alice.setState(t, st.room, "m.room.topic", map[string]any{"topic": st.unique("topic")})
	if want := `403 M_FORBIDDEN "You are not permitted to send the state event"`; got != want {
		t.Errorf("user_may_send_state_event: %s, want %s", got, want)
	}
}
