//go:build integration

package synapse_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// apiScenes are in an order in which each leaves the users and the room fit for the next.
var apiScenes = []apiScene{
	{"properties", func(t *testing.T, w *apiWorld) string {
		got := w.done(t, "properties", nil).body
		if got["public_baseurl"] != w.s.url+"/" {
			t.Errorf("public_baseurl is %v, want %s/", got["public_baseurl"], w.s.url)
		}
		return w.text(only(got, "server_name", "email_app_name", "version"))
	}, `{"email_app_name":"Matrix","server_name":"SERVER","version":"1.163.2"}`},

	{"get_userinfo_by_id", func(t *testing.T, w *apiWorld) string {
		info := func(id string) any {
			got, _ := w.done(t, "get_userinfo_by_id", request{"user_id": id}).body["userinfo"].(map[string]any)
			return only(got, "user_id", "is_admin", "is_guest")
		}
		return w.text([]any{info(w.admin.id), info(w.id("nobody"))})
	}, `[{"is_admin":true,"is_guest":false,"user_id":"@admin:SERVER"},null]`},

	{"get_user_by_req", func(t *testing.T, w *apiWorld) string {
		r := w.alice.must(t, "POST", callerBase+"/whoami", nil)
		if got, want := r.str("requester", "device_id"), w.alice.deviceID(t); got != want {
			t.Errorf("the device is %q, want %q", got, want)
		}
		stranger := user{w.s, "", "wrong"}.do(t, "POST", callerBase+"/whoami", nil)
		return r.str("requester", "user_id") + "; with a wrong token " + stranger.String()
	}, `@alice:SERVER; with a wrong token 401 M_UNKNOWN_TOKEN "Invalid access token passed."`},

	{"is_user_admin", func(t *testing.T, w *apiWorld) string {
		is := func(u user) any { return w.done(t, "is_user_admin", request{"user_id": u.id}).body["is_admin"] }
		return fmt.Sprintf("admin %v, alice %v", is(w.admin), is(w.alice))
	}, "admin true, alice false"},

	{"set_user_admin", func(t *testing.T, w *apiWorld) string {
		listUsers := func() string { return w.bob.do(t, "GET", "/_synapse/admin/v2/users", nil).String() }
		w.done(t, "set_user_admin", request{"user_id": w.bob.id, "admin": true})
		granted := listUsers()
		w.done(t, "set_user_admin", request{"user_id": w.bob.id, "admin": false})
		return "GET admin/v2/users: " + granted + ", then " + listUsers()
	}, `GET admin/v2/users: 200, then 403 M_FORBIDDEN "You are not a server admin"`},

	{"get_profile_for_user", func(t *testing.T, w *apiWorld) string {
		w.bob.must(t, "PUT", profile(w.bob, "displayname"), request{"displayname": "Bob B."})
		return w.done(t, "get_profile_for_user", request{"localpart": "bob"}).str("profile", "display_name")
	}, "Bob B."},

	// Inside a callback.
	{"get_profile_for_user", func(t *testing.T, w *apiWorld) string {
		got := w.inside(t, "get_profile_for_user", request{"localpart": "bob"})
		return fmt.Sprintf("inside check_event_for_spam: %v", member(any(got), "profile", "display_name"))
	}, "inside check_event_for_spam: Bob B."},

	{"get_threepids_for_user", func(t *testing.T, w *apiWorld) string {
		threepids := []request{{"medium": "email", "address": "alice@example.org"}}
		w.admin.must(t, "PUT", w.alice.adminPath(), request{"threepids": threepids})
		return w.text(list(w.done(t, "get_threepids_for_user", request{"user_id": w.alice.id}).body["threepids"], "address"))
	}, `["alice@example.org"]`},

	{"check_user_exists", func(t *testing.T, w *apiWorld) string {
		return w.text([]any{
			w.done(t, "check_user_exists", request{"user_id": w.id("ALICE")}).body,
			w.done(t, "check_user_exists", request{"user_id": w.id("nobody")}).body,
		})
	}, `[{"user_id":"@alice:SERVER"},{}]`},

	{"check_username", func(t *testing.T, w *apiWorld) string {
		return w.call(t, "check_username", request{"username": "free"}).String() + "; " +
			w.call(t, "check_username", request{"username": "alice"}).String()
	}, `200; 400 M_USER_IN_USE "User ID already taken."`},

	{"register_user", func(t *testing.T, w *apiWorld) string {
		id := w.done(t, "register_user", request{"localpart": "made", "displayname": "Made", "admin": true}).str("user_id")
		u := user{s: w.s, id: id}
		isAdmin := w.admin.must(t, "GET", u.adminPath(), nil).body["admin"]
		return fmt.Sprintf("%s: %s, admin %v", id, w.alice.must(t, "GET", profile(u, "displayname"), nil).str("displayname"), isAdmin)
	}, "@made:SERVER: Made, admin true"},

	{"register_device", func(t *testing.T, w *apiWorld) string {
		r := w.done(t, "register_device", request{"user_id": w.id("made"), "device_id": "TV", "initial_display_name": "Television"})
		u := user{w.s, w.id("made"), r.str("access_token")}
		return u.deviceID(t) + ": " + u.must(t, "GET", "/_matrix/client/v3/devices/TV", nil).str("display_name")
	}, "TV: Television"},

	{"record_user_external_id", func(t *testing.T, w *apiWorld) string {
		r := request{"auth_provider_id": "oidc-x", "remote_user_id": "1234", "registered_user_id": w.alice.id}
		w.done(t, "record_user_external_id", r)
		r["registered_user_id"] = w.bob.id
		again := w.call(t, "record_user_external_id", r)
		return w.text(w.admin.must(t, "GET", w.alice.adminPath(), nil).body["external_ids"]) + "; for another " + again.String()
	}, `[{"auth_provider":"oidc-x","external_id":"1234"}]; for another 409 M_UNKNOWN "This external ID is another user's"`},

	{"create_login_token", func(t *testing.T, w *apiWorld) string {
		token := w.done(t, "create_login_token", request{"user_id": w.alice.id, "duration_in_ms": "60000"}).str("token")
		return w.login(t, token)
	}, "logged in as @alice:SERVER"},

	{"invalidate_access_token", func(t *testing.T, w *apiWorld) string {
		u := w.as(t, "goes")
		before := u.do(t, "GET", "/_matrix/client/v3/account/whoami", nil).String()
		w.done(t, "invalidate_access_token", request{"access_token": u.token})
		return before + ", then " + u.do(t, "GET", "/_matrix/client/v3/account/whoami", nil).String()
	}, `200, then 401 M_UNKNOWN_TOKEN "Invalid access token passed." {"soft_logout":false}`},

	{"complete_sso_login_async", func(t *testing.T, w *apiWorld) string {
		to := w.browse(t, callerBase+"/sso?user="+url.QueryEscape(w.alice.id)+"&redirect="+url.QueryEscape("https://client.example/"))
		where, err := url.Parse(to.header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d to %s, %s", to.status, where.Host, w.login(t, where.Query().Get("loginToken")))
	}, "302 to client.example, logged in as @alice:SERVER"},

	// To a client that the operator does not know, the user has to agree.
	{"complete_sso_login_async", func(t *testing.T, w *apiWorld) string {
		page := w.browse(t, callerBase+"/sso?user="+url.QueryEscape(w.alice.id)+"&redirect="+url.QueryEscape("https://other.example/"))
		asks := strings.Contains(string(page.raw), "other.example")
		return fmt.Sprintf("%d %s, a page that asks: %v", page.status, page.header.Get("Content-Type"), asks)
	}, "200 text/html; charset=utf-8, a page that asks: true"},

	{"set_displayname", func(t *testing.T, w *apiWorld) string {
		w.done(t, "set_displayname", request{"user_id": w.alice.id, "new_displayname": "Alice A."})
		return w.bob.must(t, "GET", profile(w.alice, "displayname"), nil).str("displayname")
	}, "Alice A."},

	{"get_user_ip_and_agents", func(t *testing.T, w *apiWorld) string {
		u := w.as(t, "seen")
		u.must(t, "POST", callerBase+"/whoami", nil)
		got := w.done(t, "get_user_ip_and_agents", request{"user_id": u.id}).body["ip_and_agents"]
		later := w.done(t, "get_user_ip_and_agents", request{"user_id": u.id, "since_ts": "9000000000000"}).body["ip_and_agents"]
		return w.text([]any{list(got, "ip"), list(got, "user_agent"), list(later, "ip")})
	}, `[["203.0.113.7"],["Browser/1"],null]`},

	{"get_monthly_active_users_by_service", func(t *testing.T, w *apiWorld) string {
		users := w.done(t, "get_monthly_active_users_by_service", nil).body["users"]
		none := w.done(t, "get_monthly_active_users_by_service", request{"end_timestamp": 1}).body["users"]
		i := slices.Index(list(users, "user_id"), w.alice.id)
		if i < 0 {
			t.Fatalf("active are %v", users)
		}
		return w.text([]any{member(users, i), none})
	}, `[{"appservice_id":"native","user_id":"@alice:SERVER"},[]]`},

	{"store_remote_3pid_association", func(t *testing.T, w *apiWorld) string {
		unbind := func() string {
			r := w.alice.must(t, "POST", "/_matrix/client/v3/account/3pid/unbind", request{"medium": "email", "address": "a@example.org"})
			return r.str("id_server_unbind_result")
		}
		before := unbind()
		w.done(t, "store_remote_3pid_association", request{
			"user_id": w.alice.id, "medium": "email", "address": "a@example.org", "id_server": w.outside.identity.Listener.Addr().String(),
		})
		return fmt.Sprintf("unbind: %s, then %s at %v", before, unbind(), receive(t, w.outside.got)["path"])
	}, "unbind: no-support, then success at /_matrix/identity/v2/3pid/unbind"},

	{"get_room_state", func(t *testing.T, w *apiWorld) string {
		filter := []request{{"type": "m.room.name", "state_key": ""}, {"type": "m.room.member"}}
		state := w.done(t, "get_room_state", request{"room_id": w.room, "event_filter": filter}).body["state"]
		types := list(state, "type")
		slices.Sort(types)
		name := w.done(t, "get_room_state", request{"room_id": w.room, "event_filter": filter[:1]}).body["state"]
		all, _ := w.done(t, "get_room_state", request{"room_id": w.room}).body["state"].([]any)
		var client []any
		if err := json.Unmarshal(w.alice.must(t, "GET", room(w.room, "state"), nil).raw, &client); err != nil {
			t.Fatal(err)
		}
		if len(all) != len(client) {
			t.Errorf("the module got %d events, a client %d", len(all), len(client))
		}
		return w.text(types) + " " + w.text(member(name, 0, "event", "json", "content"))
	}, `["m.room.member","m.room.member","m.room.name"] {"name":"Home"}`},

	{"get_state_events_in_room", func(t *testing.T, w *apiWorld) string {
		r := request{"room_id": w.room, "types": []request{{"type": "m.room.member", "state_key": w.bob.id}}}
		state := w.done(t, "get_state_events_in_room", r).body["state"]
		event := fmt.Sprint(member(state, 0, "event", "event_id"))
		seen := w.alice.must(t, "GET", room(w.room, "event", event), nil)
		return w.text([]any{list(state, "state_key"), seen.body["content"].(map[string]any)["membership"]})
	}, `[["@bob:SERVER"],"join"]`},

	{"create_and_send_event_into_room", func(t *testing.T, w *apiWorld) string {
		r := w.done(t, "create_and_send_event_into_room", request{"event_dict": w.event(w.alice.id, "from the module")})
		seen := w.bob.must(t, "GET", room(w.room, "event", r.str("event", "event_id")), nil)
		return seen.str("sender") + ": " + seen.str("content", "body")
	}, "@alice:SERVER: from the module"},

	// Inside a callback, which leads to the same callback of the same module.
	{"create_and_send_event_into_room", func(t *testing.T, w *apiWorld) string {
		got := w.inside(t, "create_and_send_event_into_room", request{"event_dict": w.event(w.bob.id, "from inside")})
		id := fmt.Sprint(member(any(got), "event", "event_id"))
		return "inside check_event_for_spam: " + w.alice.must(t, "GET", room(w.room, "event", id), nil).str("content", "body")
	}, "inside check_event_for_spam: from inside"},

	{"update_room_membership", func(t *testing.T, w *apiWorld) string {
		u := w.as(t, "moved")
		change := func(sender, membership string) string {
			r := w.done(t, "update_room_membership", request{
				"sender": sender, "target": u.id, "room_id": w.room, "new_membership": membership, "content": request{"reason": "as told"},
			})
			return r.str("event", "json", "content", "reason")
		}
		reason := change(u.id, "join")
		joined := u.joined(t, w.room)
		change(w.alice.id, "kick")
		return fmt.Sprintf("%s: joined %v, then %v", reason, joined, u.joined(t, w.room))
	}, "as told: joined true, then false"},

	{"create_room", func(t *testing.T, w *apiWorld) string {
		r := w.done(t, "create_room", request{
			"user_id": w.alice.id, "config": request{"name": "Made", "room_alias_name": "made"}, "ratelimit": false,
			"creator_join_profile": request{"displayname": "Landlady"},
		})
		id := r.str("room_id")
		me := w.alice.must(t, "GET", room(id, "state", "m.room.member", w.alice.id), nil)
		return fmt.Sprintf("%s, %s in it", r.str("room_alias"), me.str("displayname"))
	}, "#made:SERVER, Landlady in it"},

	{"delete_room", func(t *testing.T, w *apiWorld) string {
		id := w.alice.createRoom(t, nil)
		before := w.admin.do(t, "GET", "/_synapse/admin/v1/rooms/"+url.PathEscape(id), nil).String()
		w.done(t, "delete_room", request{"room_id": id})
		gone := `404 M_NOT_FOUND "Room not found"`
		return before + ", then " + eventually(t, gone, func() string {
			return w.admin.do(t, "GET", "/_synapse/admin/v1/rooms/"+url.PathEscape(id), nil).String()
		})
	}, `200, then 404 M_NOT_FOUND "Room not found"`},

	{"lookup_room_alias", func(t *testing.T, w *apiWorld) string {
		r := w.done(t, "lookup_room_alias", request{"room_alias": "#home:" + w.s.name})
		client := w.alice.must(t, "GET", "/_matrix/client/v3/directory/room/"+url.PathEscape("#home:"+w.s.name), nil)
		return fmt.Sprintf("as a client: %v, at %s", r.str("room_id") == client.str("room_id"), w.text(r.body["servers"]))
	}, `as a client: true, at ["SERVER"]`},

	{"get_canonical_room_alias", func(t *testing.T, w *apiWorld) string {
		w.alice.must(t, "PUT", room(w.room, "state", "m.room.canonical_alias", ""), request{"alias": "#home:" + w.s.name})
		none := w.done(t, "get_canonical_room_alias", request{"room_id": w.alice.createRoom(t, nil)})
		return w.done(t, "get_canonical_room_alias", request{"room_id": w.room}).str("room_alias") + "; of another room " + w.text(none.body)
	}, "#home:SERVER; of another room {}"},

	{"add_room_to_public_room_list", func(t *testing.T, w *apiWorld) string {
		before := w.published(t, w.room)
		w.done(t, "add_room_to_public_room_list", request{"room_id": w.room})
		return fmt.Sprintf("listed %v, then %v", before, w.published(t, w.room))
	}, "listed false, then true"},

	{"room_is_in_public_room_list", func(t *testing.T, w *apiWorld) string {
		is := func(id string) any {
			return w.done(t, "room_is_in_public_room_list", request{"room_id": id}).body["is_public"]
		}
		return fmt.Sprintf("%v, of no room %v", is(w.room), is("!nothing:"+w.s.name))
	}, "true, of no room false"},

	{"remove_room_from_public_room_list", func(t *testing.T, w *apiWorld) string {
		w.done(t, "remove_room_from_public_room_list", request{"room_id": w.room})
		return fmt.Sprintf("listed %v", w.published(t, w.room))
	}, "listed false"},

	{"send_local_online_presence_to", func(t *testing.T, w *apiWorld) string {
		w.alice.must(t, "PUT", "/_matrix/client/v3/presence/"+url.PathEscape(w.alice.id)+"/status", request{"presence": "online"})
		_, since := w.bob.sync(t, "")
		for quiet := 0; quiet < 3; testbed.Pause(t) {
			var senders []string
			if senders, since = w.bob.sync(t, since); len(senders) == 0 {
				quiet++
			}
		}
		w.done(t, "send_local_online_presence_to", request{"users": []string{w.bob.id}})
		return "Bob's next sync has the presence of " + eventually(t, w.alice.id, func() string {
			senders, _ := w.bob.sync(t, since)
			senders = slices.DeleteFunc(senders, func(id string) bool { return id != w.alice.id })
			return strings.Join(senders, " ")
		})
	}, "Bob's next sync has the presence of @alice:SERVER"},

	{"set_presence_for_users", func(t *testing.T, w *apiWorld) string {
		u := w.as(t, "lunching")
		w.done(t, "update_room_membership", request{"sender": u.id, "target": u.id, "room_id": w.room, "new_membership": "join"})
		w.done(t, "set_presence_for_users", request{"users": request{u.id: request{"state": "unavailable", "status_msg": "lunch"}}})
		r := w.alice.must(t, "GET", "/_matrix/client/v3/presence/"+url.PathEscape(u.id)+"/status", nil)
		return r.str("presence") + ", " + r.str("status_msg")
	}, "unavailable, lunch"},

	{"send_http_push_notification", func(t *testing.T, w *apiWorld) string {
		w.alice.must(t, "POST", "/_matrix/client/v3/pushers/set", request{
			"kind": "http", "app_id": "org.example.app", "app_display_name": "App", "device_display_name": "Phone",
			"pushkey": "key", "lang": "en", "data": request{"url": w.outside.gateway.URL + "/_matrix/push/v1/notify"},
		})
		device := w.alice.deviceID(t)
		sent := w.done(t, "send_http_push_notification", request{
			"user_id": w.alice.id, "device_id": device, "content": request{"room_name": "Home"}, "tweaks": request{"sound": "bell"},
		}).body["sent"]
		got := receive(t, w.outside.got)
		n := member(got["body"], "notification")
		return fmt.Sprintf("sent %v; the gateway got %v with %v", member(sent, device), member(n, "room_name"), member(n, "devices", 0, "tweaks"))
	}, "sent true; the gateway got Home with map[sound:bell]"},

	{"set_push_rule_action", func(t *testing.T, w *apiWorld) string {
		w.done(t, "set_push_rule_action", request{
			"user_id": w.alice.id, "scope": "global", "kind": "underride", "rule_id": ".m.rule.message",
			"actions": []string{"notify", `{"set_tweak": "sound", "value": "bell"}`},
		})
		r := w.alice.must(t, "GET", "/_matrix/client/v3/pushrules/global/underride/.m.rule.message", nil)
		return w.text(r.body["actions"])
	}, `["notify",{"set_tweak":"sound","value":"bell"}]`},

	{"send_mail", func(t *testing.T, w *apiWorld) string {
		w.done(t, "send_mail", request{"recipient": "a@example.org", "subject": "Greetings", "html": "<p>hello</p>", "text": "hello"})
		mail := receive(t, w.mails.mails)
		return fmt.Sprintf("a mail: %v", strings.Contains(mail, "Subject: Greetings") && strings.Contains(mail, "To: a@example.org"))
	}, "a mail: true"},

	{"send_federation_http_request", func(t *testing.T, w *apiWorld) string {
		r := w.call(t, "send_federation_http_request", request{"method": "GET", "remote_server_name": w.s.name, "path": "/_matrix/federation/v1/version"})
		return "not in Synapse 1.163.2: " + r.String()
	}, `not in Synapse 1.163.2: 404 M_UNRECOGNIZED "This version of Synapse has no send_federation_http_request"`},

	{"get_global", func(t *testing.T, w *apiWorld) string {
		w.alice.must(t, "PUT", w.accountData("org.example.mine"), request{"colour": "red"})
		none := w.done(t, "get_global", request{"user_id": w.alice.id, "data_type": "org.example.none"}).body
		w.alice.must(t, "PUT", w.accountData("org.example.empty"), request{})
		empty := w.done(t, "get_global", request{"user_id": w.alice.id, "data_type": "org.example.empty"}).body
		got := w.done(t, "get_global", request{"user_id": w.alice.id, "data_type": "org.example.mine"}).body
		return w.text([]any{got, empty, none})
	}, `[{"data":{"colour":"red"}},{"data":{}},{}]`},

	{"put_global", func(t *testing.T, w *apiWorld) string {
		w.done(t, "put_global", request{"user_id": w.alice.id, "data_type": "org.example.theirs", "new_data": request{"colour": "blue"}})
		return w.text(w.alice.must(t, "GET", w.accountData("org.example.theirs"), nil).body)
	}, `{"colour":"blue"}`},
}

// lastAPIScenes are about parts of Synapse that are not its ModuleApi.
var lastAPIScenes = []apiScene{
	{"get_external_ids_by_user", func(t *testing.T, w *apiWorld) string {
		u := w.as(t, "linked")
		w.done(t, "record_user_external_id", request{"auth_provider_id": "oidc-y", "remote_user_id": "42", "registered_user_id": u.id})
		return w.text(w.done(t, "get_external_ids_by_user", request{"mxid": u.id}).body["external_ids"])
	}, `[{"auth_provider":"oidc-y","external_id":"42"}]`},

	{"get_user_by_external_id", func(t *testing.T, w *apiWorld) string {
		whose := func(id string) any {
			return w.done(t, "get_user_by_external_id", request{"auth_provider": "oidc-y", "external_id": id}).body
		}
		return w.text([]any{whose("42"), whose("43")})
	}, `[{"user_id":"@linked:SERVER"},{}]`},

	{"add_threepid", func(t *testing.T, w *apiWorld) string {
		u := w.as(t, "mailed")
		w.done(t, "add_threepid", request{"user_id": u.id, "medium": "email", "address": "Mailed@example.org", "validated_at": "1700000000000"})
		of := u.must(t, "GET", "/_matrix/client/v3/account/3pid", nil).body["threepids"]
		other := w.call(t, "add_threepid", request{"user_id": u.id, "medium": "pigeon", "address": "x", "validated_at": "1"})
		return w.text(list(of, "address")) + "; " + other.String()
	}, `["mailed@example.org"]; 400 M_INVALID_PARAM "'pigeon' is not a valid value for 'medium'"`},

	{"get_users_paginate", func(t *testing.T, w *apiWorld) string {
		names := func(r request) any { return list(w.done(t, "get_users_paginate", r).body["users"], "name") }
		for _, name := range []string{"temp-1", "temp-2", "temp-3"} {
			w.as(t, name)
		}
		return w.text([]any{
			names(request{"user_id": "@temp-", "limit": 2}), names(request{"user_id": "@temp-", "limit": 2, "start": 2}),
			names(request{"name": "temp-", "limit": 1, "direction": "b"}),
			w.done(t, "get_users_paginate", request{"user_id": "@temp-"}).body,
		})
	}, `[["@temp-1:SERVER","@temp-2:SERVER"],["@temp-3:SERVER"],["@temp-3:SERVER"],{"total":"3","users":[]}]`},

	{"deactivate_account", func(t *testing.T, w *apiWorld) string {
		u := w.as(t, "temp-4")
		w.done(t, "deactivate_account", request{"user_id": u.id, "erase_data": true})
		left := w.done(t, "get_users_paginate", request{"user_id": "@temp-4", "limit": 1, "deactivated": true}).body["users"]
		nobody := w.call(t, "deactivate_account", request{"user_id": w.id("nobody")})
		who := u.do(t, "GET", "/_matrix/client/v3/account/whoami", nil)
		return fmt.Sprintf("%s; deactivated %v, erased %v; nobody: %s", who, member(left, 0, "deactivated"), member(left, 0, "erased"), nobody)
	}, `401 M_UNKNOWN_TOKEN "Invalid access token passed." {"soft_logout":false}; deactivated true, erased true; nobody: 404 M_NOT_FOUND "There is no such user"`},

	{"create_registration_token", func(t *testing.T, w *apiWorld) string {
		created := func(r request) any { return w.done(t, "create_registration_token", r).body["created"] }
		r := request{"token": "once", "uses_allowed": 1}
		first, second := created(r), created(request{"token": "once"})
		at := w.admin.must(t, "GET", "/_synapse/admin/v1/registration_tokens/once", nil)
		return fmt.Sprintf("created %v, then %v; the admin sees %s", first, second, w.text(only(at.body, "token", "uses_allowed", "expiry_time")))
	}, `created true, then false; the admin sees {"expiry_time":null,"token":"once","uses_allowed":1}`},

	{"registration_token_is_valid", func(t *testing.T, w *apiWorld) string {
		valid := func(token string) any {
			return w.done(t, "registration_token_is_valid", request{"token": token}).body["is_valid"]
		}
		return fmt.Sprintf("once %v, another %v", valid("once"), valid("another"))
	}, "once true, another false"},

	{"get_registration_tokens", func(t *testing.T, w *apiWorld) string {
		w.done(t, "create_registration_token", request{"token": "over", "expiry_time": "1"})
		listed := func(r request) any { return w.done(t, "get_registration_tokens", r).body["tokens"] }
		return w.text([]any{listed(request{"valid": true}), list(listed(request{"valid": false}), "token"), len(list(listed(nil), "token"))})
	}, `[[{"completed":0,"pending":0,"token":"once","uses_allowed":1}],["over"],2]`},

	{"delete_registration_token", func(t *testing.T, w *apiWorld) string {
		deleted := func() any {
			return w.done(t, "delete_registration_token", request{"token": "over"}).body["deleted"]
		}
		return fmt.Sprintf("deleted %v, then %v", deleted(), deleted())
	}, "deleted true, then false"},
}

func (w *apiWorld) accountData(kind string) string {
	return "/_matrix/client/v3/user/" + url.PathEscape(w.alice.id) + "/account_data/" + kind
}

// login logs in with a token, as a client does that the browser came back to.
func (w *apiWorld) login(t *testing.T, token string) string {
	t.Helper()
	r := w.s.nobody().do(t, "POST", "/_matrix/client/v3/login", request{"type": "m.login.token", "token": token})
	if r.status != http.StatusOK {
		return r.String()
	}
	return "logged in as " + r.str("user_id")
}

// browse makes a request that follows no redirect.
func (w *apiWorld) browse(t *testing.T, path string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	rsp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	raw, err := io.ReadAll(rsp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{status: rsp.StatusCode, header: rsp.Header, raw: raw}
}
