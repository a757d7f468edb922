//go:build integration

package synapse_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// loginAnswers are what modules can say of a login, and what the client then sees.
var loginAnswers = []answer{
	{"no opinion", silent, `403 M_FORBIDDEN "Invalid username or password"`},
	{"a user", `{"reply": {"user_id": "ALICE"}, "python": {"$": "tuple", "items": ["ALICE", null]}}`, "200 alice"},
	{"a user, and wants to hear", `{"reply": {"user_id": "ALICE", "tell_login": true}, "python": {"$": "callable", "user_id": "ALICE"}}`, "200 alice, heard of the login"},
	{"fails", fails, `403 M_FORBIDDEN "Invalid username or password"`},
}

// scene is what a client does, that makes Synapse call a callback.
type scene struct {
	callback string
	// act does it, and returns what the client saw. Say sets how the callback answers, after all is prepared.
	act func(t *testing.T, st *stage, say func(when string)) string
	// answers are what the module may say, and what the client sees then.
	answers []answer
	// also is what other callbacks say meanwhile.
	also map[string]string
}

// answer is one in a script: a reply over the bus, and the Python value that is the same.
type answer struct{ name, entry, want string }

// Where the bus differs from Synapse on purpose: what comes of the answer inside Synapse is not looked at, and its row
// says so.
var onPurpose = map[string]string{
	// A verdict about an event of another server is for ever, so that no module's failure is taken for one.
	"check_event_for_spam, federated/fails": "skipped",
	// Inside Synapse a module has no way to leave it to the homeserver.
	"on_update/no opinion": "left to the homeserver",
}

const (
	silent = `{}`
	fails  = `{"error": "it broke"}`
	broken = `500 M_UNKNOWN "Internal server error"`
)

// refusals are what verdicts have to say that take codes and fields.
func refusals(allowed, text string) []answer {
	return []answer{
		{"no opinion", silent, allowed},
		{"a code", `{"reply": {"refusal": {"errcode": "M_LIMIT_EXCEEDED"}}, "python": {"$": "Codes", "value": "M_LIMIT_EXCEEDED"}}`, `403 M_LIMIT_EXCEEDED "` + text + `"`},
		{"a refusal without a code", `{"reply": {"refusal": {}}, "python": {"$": "Codes", "value": "M_FORBIDDEN"}}`, `403 M_FORBIDDEN "` + text + `"`},
		{
			"a code, a text and fields",
			`{"reply": {"refusal": {"errcode": "M_FORBIDDEN", "error": "not here", "additional_fields": {"org.example.n": 1}}},
			  "python": {"$": "tuple", "items": [{"$": "Codes", "value": "M_FORBIDDEN"}, {"error": "not here", "org.example.n": 1}]}}`,
			`403 M_FORBIDDEN "not here" {"org.example.n":1}`,
		},
		{
			"a code of its own",
			`{"reply": {"refusal": {"errcode": "ORG_EXAMPLE_NO"}},
			  "python": {"$": "tuple", "items": [{"$": "Codes", "value": "M_FORBIDDEN"}, {"errcode": "ORG_EXAMPLE_NO"}]}}`,
			`403 ORG_EXAMPLE_NO "` + text + `"`,
		},
		{"fails", fails, broken},
	}
}

// booleans are what verdicts have to say that say only yes or no.
func booleans(allowed, refused, failed string) []answer {
	return []answer{
		{"no opinion", silent, allowed},
		{"a refusal", `{"reply": {"refusal": {"errcode": "M_LIMIT_EXCEEDED"}}, "python": false}`, refused},
		{"fails", fails, failed},
	}
}

// notices are what can be said to what is told.
func notices(done, failed string) []answer {
	return []answer{{"takes note", silent, done}, {"fails", fails, failed}}
}

var scenes = []scene{
	{callback: "check_event_for_spam", act: func(t *testing.T, st *stage, say func(string)) string {
		text := st.unique("message")
		say(text)
		return st.alice.do(t, "PUT", room(st.room, "send", "m.room.message", text), message(text)).String()
	}, answers: refusals("200", "This message has been rejected as probable spam")},

	{callback: "user_may_join_room", act: func(t *testing.T, st *stage, say func(string)) string {
		id := st.alice.createRoom(t, nil)
		say(id)
		return st.newUser(t).do(t, "POST", room(id, "join"), map[string]any{}).String()
	}, answers: refusals("200", "Not allowed to join this room")},

	{callback: "user_may_invite", act: func(t *testing.T, st *stage, say func(string)) string {
		invitee := st.newUser(t).id
		say(invitee)
		return st.alice.do(t, "POST", room(st.room, "invite"), map[string]any{"user_id": invitee}).String()
	}, answers: refusals("200", "Invites have been disabled on this server")},

	{callback: "user_may_create_room", act: func(t *testing.T, st *stage, say func(string)) string {
		name := st.unique("name")
		say(name)
		return st.alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{"name": name}).String()
	}, answers: refusals("200", "You are not permitted to create rooms")},

	{callback: "user_may_create_room_alias", act: func(t *testing.T, st *stage, say func(string)) string {
		alias := "#" + st.unique("alias") + ":" + st.s.name
		say(alias)
		return st.alice.do(t, "PUT", "/_matrix/client/v3/directory/room/"+url.PathEscape(alias), map[string]any{"room_id": st.room}).String()
	}, answers: refusals("200", "This user is not permitted to create this alias")},

	{callback: "user_may_publish_room", act: func(t *testing.T, st *stage, say func(string)) string {
		id := st.alice.createRoom(t, nil)
		say(id)
		return st.alice.do(t, "PUT", "/_matrix/client/v3/directory/list/room/"+url.PathEscape(id), map[string]any{"visibility": "public"}).String()
	}, answers: refusals("200", "This user is not permitted to publish rooms to the room list")},

	{callback: "user_may_send_state_event", act: func(t *testing.T, st *stage, say func(string)) string {
		topic := st.unique("topic")
		say(topic)
		return st.alice.do(t, "PUT", room(st.room, "state", "m.room.topic"), map[string]any{"topic": topic}).String()
	}, answers: []answer{
		{"no opinion", silent, "200"},
		{"a code", `{"reply": {"refusal": {"errcode": "M_LIMIT_EXCEEDED"}}, "python": {"$": "Codes", "value": "M_LIMIT_EXCEEDED"}}`, `403 M_LIMIT_EXCEEDED "You are not permitted to send the state event"`},
		{"a code and a text", `{"reply": {"refusal": {"errcode": "M_LIMIT_EXCEEDED", "error": "not here"}}, "python": {"$": "raise", "code": 403, "errcode": "M_LIMIT_EXCEEDED", "error": "not here"}}`, `403 M_LIMIT_EXCEEDED "not here"`},
		{"fails", fails, broken},
	}},

	{callback: "check_login_for_spam", act: func(t *testing.T, st *stage, say func(string)) string {
		u := st.newUser(t)
		say(u.id)
		return st.login(t, u).String()
	}, answers: refusals("200", "Login was blocked by the server")},

	{callback: "check_username_for_spam", act: func(t *testing.T, st *stage, say func(string)) string {
		u := st.newUser(t)
		eventually(t, "found", func() string { return st.search(t, u) })
		say(u.id)
		return st.search(t, u)
	}, answers: []answer{
		{"no opinion", silent, "found"},
		{"a refusal", `{"reply": {"refusal": {}}, "python": true}`, "not found"},
		{"fails", fails, broken},
	}},

	{callback: "check_registration_for_spam", act: func(t *testing.T, st *stage, say func(string)) string {
		name := st.unique("joiner")
		say(name)
		r := st.signUp(t, name)
		if r.status != 200 {
			return r.String()
		}
		info := st.admin.must(t, "GET", "/_synapse/admin/v2/users/"+url.PathEscape(r.str("user_id")), nil)
		return fmt.Sprintf("200, shadow banned: %v", info.body["shadow_banned"])
	}, answers: []answer{
		{"no opinion", silent, "200, shadow banned: false"},
		{"a refusal", `{"reply": {"refusal": {}}, "python": {"$": "RegistrationBehaviour", "value": "deny"}}`, `429 M_UNKNOWN "Rate limited"`},
		{"a shadow ban", `{"reply": {"shadow_ban": true}, "python": {"$": "RegistrationBehaviour", "value": "shadow_ban"}}`, "200, shadow banned: true"},
		{"fails", fails, broken},
	}},

	{callback: "check_media_file_for_spam", act: func(t *testing.T, st *stage, say func(string)) string {
		content := []byte(strings.Repeat(st.unique("media"), 100_000))
		say("")
		r := st.alice.do(t, "POST", "/_matrix/media/v3/upload", content)
		if st.d != nil && r.status == 200 {
			sum := sha256.Sum256(content)
			calls := st.calls(t, "check_media_file_for_spam", "")
			if last := calls[len(calls)-1]; last.SHA256 != "" && last.SHA256 != hex.EncodeToString(sum[:]) {
				return "the module read something else"
			}
		}
		return r.String()
	}, answers: []answer{
		{"no opinion", silent, "200"},
		{"reads it, no opinion", `{"read": true}`, "200"},
		{"a code", `{"reply": {"refusal": {"errcode": "M_LIMIT_EXCEEDED"}}, "python": {"$": "Codes", "value": "M_LIMIT_EXCEEDED"}}`, `400 M_UNKNOWN "Bad content"`},
		{"a code and fields", `{"reply": {"refusal": {"error": "no"}}, "python": {"$": "tuple", "items": [{"$": "Codes", "value": "M_FORBIDDEN"}, {"error": "no"}]}}`, `400 M_UNKNOWN "Bad content"`},
		{"fails", fails, broken},
	}},

	{callback: "is_user_expired", act: func(t *testing.T, st *stage, say func(string)) string {
		u := st.newUser(t)
		say(u.id)
		return u.do(t, "GET", "/_matrix/client/v3/account/whoami", nil).String()
	}, answers: []answer{
		{"no opinion", silent, "200"},
		{"not expired", `{"reply": {"expired": false}, "python": false}`, "200"},
		{"expired", `{"reply": {"expired": true}, "python": true}`, `403 ORG_MATRIX_EXPIRED_ACCOUNT "User account has expired"`},
		{"fails", fails, broken},
	}},

	{callback: "on_user_registration", act: func(t *testing.T, st *stage, say func(string)) string {
		name := st.unique("joiner")
		say(name)
		return st.signUp(t, name).String() + ", " + st.told(t, "on_user_registration", name)
	}, answers: notices("200, told", broken+", told")},

	{callback: "on_user_login", act: func(t *testing.T, st *stage, say func(string)) string {
		u := st.newUser(t)
		say(u.id)
		return st.login(t, u).String() + ", " + st.told(t, "on_user_login", u.id)
	}, answers: notices("200, told", broken+", told")},

	{callback: "check_event_allowed", act: func(t *testing.T, st *stage, say func(string)) string {
		text := st.unique("message")
		say(text)
		r := st.alice.do(t, "PUT", room(st.room, "send", "m.room.message", text), message(text))
		if r.status != 200 {
			return r.String()
		}
		sent := st.alice.must(t, "GET", room(st.room, "event", r.str("event_id")), nil)
		return strings.ReplaceAll("200, "+sent.str("content", "body"), text, "the text")
	}, answers: []answer{
		{"no opinion", silent, "200, the text"},
		{"a refusal", `{"reply": {"refusal": {}}, "python": {"$": "tuple", "items": [false, null]}}`, `403 M_FORBIDDEN "This event is not allowed in this context"`},
		{
			"a refusal with a status",
			`{"reply": {"refusal": {"errcode": "ORG_EXAMPLE_NO", "error": "not here", "http_status": 418, "additional_fields": {"org.example.n": 1}}},
			  "python": {"$": "raise", "code": 418, "errcode": "ORG_EXAMPLE_NO", "error": "not here", "fields": {"org.example.n": 1}}}`,
			`418 ORG_EXAMPLE_NO "not here" {"org.example.n":1}`,
		},
		{"a replacement", `{"content": {"msgtype": "m.text", "body": "replaced"}, "python": {"$": "event", "content": {"msgtype": "m.text", "body": "replaced"}}}`, "200, replaced"},
		{"fails", fails, broken},
	}},

	{callback: "on_create_room", act: func(t *testing.T, st *stage, say func(string)) string {
		name := st.unique("name")
		say(name)
		r := st.alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{"name": name})
		if r.status != 200 {
			return r.String()
		}
		got := st.alice.must(t, "GET", room(r.str("room_id"), "state", "m.room.name", ""), nil).str("name")
		return "200, " + strings.ReplaceAll(got, name, "the name")
	}, answers: []answer{
		{"no opinion", silent, "200, the name"},
		{"other content", `{"reply": {"request_content": {"name": "other"}}, "python": {"$": "replace", "value": {"name": "other"}}}`, "200, other"},
		{
			"a refusal with a status",
			`{"reply": {"refusal": {"errcode": "ORG_EXAMPLE_NO", "error": "not here", "http_status": 418, "additional_fields": {"org.example.n": 1}}},
			  "python": {"$": "raise", "code": 418, "errcode": "ORG_EXAMPLE_NO", "error": "not here", "fields": {"org.example.n": 1}}}`,
			`418 ORG_EXAMPLE_NO "not here" {"org.example.n":1}`,
		},
		{"content that is not valid", `{"reply": {"request_content": {"name": 1}}, "python": {"$": "replace", "value": {"name": 1}}}`, `400 M_UNKNOWN "'name' not a string type"`},
		{"fails", fails, `403 M_UNKNOWN "Room creation forbidden with these parameters"`},
	}},

	{callback: "check_visibility_can_be_modified", act: func(t *testing.T, st *stage, say func(string)) string {
		id := st.alice.createRoom(t, nil)
		say(id)
		return st.alice.do(t, "PUT", "/_matrix/client/v3/directory/list/room/"+url.PathEscape(id), map[string]any{"visibility": "public"}).String()
	}, answers: booleans("200", `403 M_UNKNOWN "Not allowed to publish room"`, "200")},

	{callback: "on_new_event", act: func(t *testing.T, st *stage, say func(string)) string {
		text := st.unique("message")
		say(text)
		r := st.alice.do(t, "PUT", room(st.room, "send", "m.room.message", text), message(text))
		return r.String() + ", " + st.told(t, "on_new_event", text)
	}, answers: notices("200, told", "200, told")},

	{callback: "check_can_shutdown_room", act: func(t *testing.T, st *stage, say func(string)) string {
		id := st.alice.createRoom(t, nil)
		say(id)
		return st.admin.do(t, "DELETE", "/_synapse/admin/v2/rooms/"+url.PathEscape(id), map[string]any{}).String()
	}, answers: booleans("200", `403 M_FORBIDDEN "Shutdown of this room is forbidden"`, "200")},

	{callback: "check_can_deactivate_user", act: func(t *testing.T, st *stage, say func(string)) string {
		u := st.newUser(t)
		say(u.id)
		return st.admin.do(t, "POST", "/_synapse/admin/v1/deactivate/"+url.PathEscape(u.id), map[string]any{}).String()
	}, answers: booleans("200", `403 M_FORBIDDEN "Deactivation of this user is forbidden"`, "200")},

	{callback: "on_user_deactivation_status_changed", act: func(t *testing.T, st *stage, say func(string)) string {
		u := st.newUser(t)
		say(u.id)
		r := st.admin.do(t, "POST", "/_synapse/admin/v1/deactivate/"+url.PathEscape(u.id), map[string]any{})
		return r.String() + ", " + st.told(t, "on_user_deactivation_status_changed", u.id)
	}, answers: notices("200, told", "200, told")},

	{callback: "on_profile_update", act: func(t *testing.T, st *stage, say func(string)) string {
		name := st.unique("name")
		say(name)
		r := st.bob.do(t, "PUT", "/_matrix/client/v3/profile/"+url.PathEscape(st.bob.id)+"/displayname", map[string]any{"displayname": name})
		return r.String() + ", " + st.told(t, "on_profile_update", st.bob.id)
	}, answers: notices("200, told", "200, told")},

	threepid("on_threepid_bind", false),
	threepid("on_add_user_third_party_identifier", false),
	threepid("on_remove_user_third_party_identifier", true),

	{callback: "on_account_data_updated", act: func(t *testing.T, st *stage, say func(string)) string {
		value := st.unique("value")
		say(value)
		r := st.bob.do(t, "PUT", "/_matrix/client/v3/user/"+url.PathEscape(st.bob.id)+"/account_data/org.example", map[string]any{"k": value})
		q := st.bob.do(t, "PUT", "/_matrix/client/v3/user/"+url.PathEscape(st.bob.id)+"/rooms/"+url.PathEscape(st.room)+"/account_data/org.example", map[string]any{"k": value + "r"})
		return r.String() + ", " + st.told(t, "on_account_data_updated", value+`"`) + "; in a room " + q.String() + ", " + st.told(t, "on_account_data_updated", value+"r")
	}, answers: notices("200, told; in a room 200, told", "200, told; in a room 200, told")},

	{callback: "add_field_to_unsigned_callback", act: func(t *testing.T, st *stage, say func(string)) string {
		id := st.alice.createRoom(t, nil)
		say("")
		r := st.alice.do(t, "GET", room(id, "messages")+"?dir=b&limit=3", nil)
		if r.status != 200 {
			return r.String()
		}
		var seen []string
		for _, e := range r.body["chunk"].([]any) {
			unsigned, _ := e.(map[string]any)["unsigned"].(map[string]any)
			seen = append(seen, fmt.Sprint(unsigned["org.example.seen"]))
		}
		return "200, " + strings.Join(slices.Compact(seen), " ")
	}, answers: []answer{
		{"no opinion", silent, "200, <nil>"},
		{"a field", `{"unsigned": {"org.example.seen": {"n": 7}}, "python": {"org.example.seen": {"n": 7}}}`, "200, map[n:7]"},
		{"fails", fails, broken},
	}},

	{callback: "get_media_config_for_user", act: func(t *testing.T, st *stage, say func(string)) string {
		say("")
		r := st.alice.do(t, "GET", "/_matrix/client/v1/media/config", nil)
		return fmt.Sprintf("%v %v", r, r.body["m.upload.size"])
	}, answers: []answer{
		{"no opinion", silent, "200 5.24288e+07"},
		{"a config", `{"reply": {"media_config": {"m.upload.size": 77}}, "python": {"m.upload.size": 77}}`, "200 77"},
		{"fails", fails, broken + " <nil>"},
	}},

	{callback: "is_user_allowed_to_upload_media_of_size", act: func(t *testing.T, st *stage, say func(string)) string {
		say("")
		return st.alice.do(t, "POST", "/_matrix/media/v3/upload", []byte(st.unique("media"))).String()
	}, answers: booleans("200", `413 M_TOO_LARGE "Upload request body is too large"`, broken)},

	{callback: "get_media_upload_limits_for_user", act: func(t *testing.T, st *stage, say func(string)) string {
		u := st.newUser(t)
		say(u.id)
		return u.do(t, "POST", "/_matrix/media/v3/upload", []byte(strings.Repeat("x", 1000))).String()
	}, answers: []answer{
		{"no opinion", silent, "200"},
		{"no limits", `{"reply": {"limits": {"limits": []}}, "python": []}`, "200"},
		{
			"a limit",
			`{"reply": {"limits": {"limits": [{"max_bytes": "10", "time_period_ms": 1000000, "info_uri": "https://example.org/more", "can_upgrade": true}]}},
			  "python": [{"$": "MediaUploadLimit", "value": {"max_bytes": 10, "time_period_ms": 1000000, "info_uri": "https://example.org/more", "can_upgrade": true}}]}`,
			`403 M_USER_LIMIT_EXCEEDED "Media upload limit exceeded" {"can_upgrade":true,"info_uri":"https://example.org/more"}`,
		},
		{"fails", fails, broken},
	}},

	{callback: "get_ratelimit_override_for_user", act: func(t *testing.T, st *stage, say func(string)) string {
		u := st.newUser(t)
		id := u.createRoom(t, nil)
		invitees := []user{st.newUser(t), st.newUser(t)}
		say(u.id)
		var got []string
		for _, i := range invitees {
			r := u.do(t, "POST", room(id, "invite"), map[string]any{"user_id": i.id})
			delete(r.body, "retry_after_ms")
			got = append(got, r.String())
		}
		return strings.Join(got, ", ")
	}, answers: []answer{
		{"no opinion", silent, "200, 200"},
		{"an override", `{"reply": {"override": {"per_second": 0.001, "burst_count": 1}}, "python": {"$": "RatelimitOverride", "value": {"per_second": 0.001, "burst_count": 1}}}`, `200, 429 M_LIMIT_EXCEEDED "Too Many Requests"`},
		// Synapse says that this switches the limit off, and divides by it.
		{"no actions a second", `{"reply": {"override": {"per_second": 0, "burst_count": 1}}, "python": {"$": "RatelimitOverride", "value": {"per_second": 0, "burst_count": 1}}}`, broken + ", " + broken},
		{"fails", fails, broken + ", " + broken},
	}},

	{callback: "auth_checkers", act: func(t *testing.T, st *stage, say func(string)) string {
		u := st.newUser(t)
		flows := st.s.nobody().must(t, "GET", "/_matrix/client/v3/login", nil)
		if !strings.Contains(string(flows.raw), loginType) {
			return "the login type is not listed"
		}
		say(u.id)
		r := st.s.nobody().do(t, "POST", "/_matrix/client/v3/login", map[string]any{
			"type": loginType, "identifier": map[string]any{"type": "m.id.user", "user": u.id}, "secret": "open",
		})
		return st.authenticated(t, r)
	}, answers: loginAnswers},

	{callback: "check_3pid_auth", act: func(t *testing.T, st *stage, say func(string)) string {
		address := st.unique("mail") + "@example.org"
		say(address)
		r := st.s.nobody().do(t, "POST", "/_matrix/client/v3/login", map[string]any{
			"type": "m.login.password", "password": "open",
			"identifier": map[string]any{"type": "m.id.thirdparty", "medium": "email", "address": address},
		})
		return st.authenticated(t, r)
	}, answers: loginAnswers},

	{callback: "on_logged_out", act: func(t *testing.T, st *stage, say func(string)) string {
		u := st.newUser(t)
		say(u.id)
		r := u.do(t, "POST", "/_matrix/client/v3/logout", map[string]any{})
		return r.String() + ", " + st.told(t, "on_logged_out", u.id)
	}, answers: notices("200, told", "200, told")},

	{callback: "get_username_for_registration", act: func(t *testing.T, st *stage, say func(string)) string {
		name := st.unique("joiner")
		say(name)
		r := st.signUp(t, name)
		got := strings.TrimSuffix(r.str("user_id"), ":"+st.s.name)
		return r.String() + " " + strings.ReplaceAll(got, name, "as asked")
	}, answers: []answer{
		{"no opinion", silent, "200 @as asked"},
		{"a name", `{"reply": {"username": "chosen"}, "python": "chosen"}`, "200 @chosen"},
		{"a name that is taken", `{"reply": {"username": "alice"}, "python": "alice"}`, `400 M_USER_IN_USE "User ID already taken." `},
		{"fails", fails, `500 M_UNKNOWN "Internal Server Error" `},
	}},

	{callback: "get_displayname_for_registration", act: func(t *testing.T, st *stage, say func(string)) string {
		name := st.unique("joiner")
		say(name)
		r := st.signUp(t, name)
		if r.status != 200 {
			return r.String()
		}
		profile := st.alice.must(t, "GET", "/_matrix/client/v3/profile/"+url.PathEscape(r.str("user_id")), nil)
		return "200 " + strings.ReplaceAll(profile.str("displayname"), name, "as asked")
	}, answers: []answer{
		{"no opinion", silent, "200 as asked"},
		{"a name", `{"reply": {"displayname": "Chosen Name"}, "python": "Chosen Name"}`, "200 Chosen Name"},
		{"fails", fails, `500 M_UNKNOWN "Internal Server Error"`},
	}},

	{callback: "is_3pid_allowed", act: func(t *testing.T, st *stage, say func(string)) string {
		address := st.unique("mail") + "@example.org"
		say(address)
		return st.alice.do(t, "POST", "/_matrix/client/v3/account/3pid/email/requestToken", map[string]any{
			"client_secret": "secret", "email": address, "send_attempt": 1,
		}).String()
	}, answers: booleans("200", `403 M_THREEPID_DENIED "Your email domain is not authorized on this server"`, `500 M_UNKNOWN "Internal Server Error"`)},
}

func threepid(callback string, remove bool) scene {
	return scene{callback: callback, act: func(t *testing.T, st *stage, say func(string)) string {
		u := st.newUser(t)
		path := "/_synapse/admin/v2/users/" + url.PathEscape(u.id)
		one := map[string]any{"threepids": []map[string]any{{"medium": "email", "address": st.unique("mail") + "@example.org"}}}
		if remove {
			st.admin.must(t, "PUT", path, one)
			one = map[string]any{"threepids": []any{}}
		}
		say(u.id)
		return st.admin.do(t, "PUT", path, one).String() + ", " + st.told(t, callback, u.id)
	}, answers: notices("200, told", "200, told")}
}

func message(text string) map[string]any { return map[string]any{"msgtype": "m.text", "body": text} }
