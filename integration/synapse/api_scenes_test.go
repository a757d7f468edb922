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
	{"properties", func(t *testing.T, st *apiStage) string {
		got := st.done(t, "properties", nil).body
		if got["public_baseurl"] != st.s.url+"/" {
			t.Errorf("public_baseurl is %v, want %s/", got["public_baseurl"], st.s.url)
		}
		return st.text(only(got, "server_name", "email_app_name", "version"))
	}, `{"email_app_name":"Matrix","server_name":"SERVER","version":"1.163.2"}`},

	{"get_userinfo_by_id", func(t *testing.T, st *apiStage) string {
		info := func(id string) any {
			got, _ := st.done(t, "get_userinfo_by_id", request{"user_id": id}).body["userinfo"].(map[string]any)
			return only(got, "user_id", "is_admin", "is_guest")
		}
		return st.text([]any{info(st.admin.id), info(st.id("nobody"))})
	}, `[{"is_admin":true,"is_guest":false,"user_id":"@admin:SERVER"},null]`},

	{"get_user_by_req", func(t *testing.T, st *apiStage) string {
		r := st.alice.must(t, "POST", callerBase+"/whoami", nil)
		if got, want := r.str("requester", "device_id"), st.alice.deviceID(t); got != want {
			t.Errorf("the device is %q, want %q", got, want)
		}
		stranger := user{st.s, "", "wrong"}.do(t, "POST", callerBase+"/whoami", nil)
		return r.str("requester", "user_id") + "; with a wrong token " + stranger.String()
	}, `@alice:SERVER; with a wrong token 401 M_UNKNOWN_TOKEN "Invalid access token passed."`},

	{"is_user_admin", func(t *testing.T, st *apiStage) string {
		is := func(u user) any { return st.done(t, "is_user_admin", request{"user_id": u.id}).body["is_admin"] }
		return fmt.Sprintf("admin %v, alice %v", is(st.admin), is(st.alice))
	}, "admin true, alice false"},

	{"set_user_admin", func(t *testing.T, st *apiStage) string {
		listUsers := func() string { return st.bob.do(t, "GET", "/_synapse/admin/v2/users", nil).String() }
		st.done(t, "set_user_admin", request{"user_id": st.bob.id, "admin": true})
		granted := listUsers()
		st.done(t, "set_user_admin", request{"user_id": st.bob.id, "admin": false})
		return "GET admin/v2/users: " + granted + ", then " + listUsers()
	}, `GET admin/v2/users: 200, then 403 M_FORBIDDEN "You are not a server admin"`},

	{"get_profile_for_user", func(t *testing.T, st *apiStage) string {
		st.bob.must(t, "PUT", profile(st.bob, "displayname"), request{"displayname": "Bob B."})
		return st.done(t, "get_profile_for_user", request{"localpart": "bob"}).str("profile", "display_name")
	}, "Bob B."},

	// Inside a callback.
	{"get_profile_for_user", func(t *testing.T, st *apiStage) string {
		got := st.inside(t, "get_profile_for_user", request{"localpart": "bob"})
		return fmt.Sprintf("inside check_event_for_spam: %v", member(any(got), "profile", "display_name"))
	}, "inside check_event_for_spam: Bob B."},

	{"get_threepids_for_user", func(t *testing.T, st *apiStage) string {
		threepids := []request{{"medium": "email", "address": "alice@example.org"}}
		st.admin.must(t, "PUT", st.alice.adminPath(), request{"threepids": threepids})
		return st.text(list(st.done(t, "get_threepids_for_user", request{"user_id": st.alice.id}).body["threepids"], "address"))
	}, `["alice@example.org"]`},

	{"check_user_exists", func(t *testing.T, st *apiStage) string {
		return st.text([]any{
			st.done(t, "check_user_exists", request{"user_id": st.id("ALICE")}).body,
			st.done(t, "check_user_exists", request{"user_id": st.id("nobody")}).body,
		})
	}, `[{"user_id":"@alice:SERVER"},{}]`},

	{"check_username", func(t *testing.T, st *apiStage) string {
		return st.call(t, "check_username", request{"username": "free"}).String() + "; " +
			st.call(t, "check_username", request{"username": "alice"}).String()
	}, `200; 400 M_USER_IN_USE "User ID already taken."`},

	{"register_user", func(t *testing.T, st *apiStage) string {
		id := st.done(t, "register_user", request{"localpart": "made", "displayname": "Made", "admin": true}).str("user_id")
		u := user{s: st.s, id: id}
		isAdmin := st.admin.must(t, "GET", u.adminPath(), nil).body["admin"]
		return fmt.Sprintf("%s: %s, admin %v", id, st.alice.must(t, "GET", profile(u, "displayname"), nil).str("displayname"), isAdmin)
	}, "@made:SERVER: Made, admin true"},

	{"register_device", func(t *testing.T, st *apiStage) string {
		r := st.done(t, "register_device", request{"user_id": st.id("made"), "device_id": "TV", "initial_display_name": "Television"})
		u := user{st.s, st.id("made"), r.str("access_token")}
		return u.deviceID(t) + ": " + u.must(t, "GET", "/_matrix/client/v3/devices/TV", nil).str("display_name")
	}, "TV: Television"},

	{"record_user_external_id", func(t *testing.T, st *apiStage) string {
		r := request{"auth_provider_id": "oidc-x", "remote_user_id": "1234", "registered_user_id": st.alice.id}
		st.done(t, "record_user_external_id", r)
		r["registered_user_id"] = st.bob.id
		again := st.call(t, "record_user_external_id", r)
		return st.text(st.admin.must(t, "GET", st.alice.adminPath(), nil).body["external_ids"]) + "; for another " + again.String()
	}, `[{"auth_provider":"oidc-x","external_id":"1234"}]; for another 409 M_UNKNOWN "This external ID is another user's"`},

	{"create_login_token", func(t *testing.T, st *apiStage) string {
		token := st.done(t, "create_login_token", request{"user_id": st.alice.id, "duration_in_ms": "60000"}).str("token")
		return st.login(t, token)
	}, "logged in as @alice:SERVER"},

	{"invalidate_access_token", func(t *testing.T, st *apiStage) string {
		u := st.as(t, "goes")
		before := u.do(t, "GET", "/_matrix/client/v3/account/whoami", nil).String()
		st.done(t, "invalidate_access_token", request{"access_token": u.token})
		return before + ", then " + u.do(t, "GET", "/_matrix/client/v3/account/whoami", nil).String()
	}, `200, then 401 M_UNKNOWN_TOKEN "Invalid access token passed." {"soft_logout":false}`},

	{"complete_sso_login_async", func(t *testing.T, st *apiStage) string {
		to := st.browse(t, callerBase+"/sso?user="+url.QueryEscape(st.alice.id)+"&redirect="+url.QueryEscape("https://client.example/"))
		where, err := url.Parse(to.header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%d to %s, %s", to.status, where.Host, st.login(t, where.Query().Get("loginToken")))
	}, "302 to client.example, logged in as @alice:SERVER"},

	// To a client that the operator does not know, the user has to agree.
	{"complete_sso_login_async", func(t *testing.T, st *apiStage) string {
		page := st.browse(t, callerBase+"/sso?user="+url.QueryEscape(st.alice.id)+"&redirect="+url.QueryEscape("https://other.example/"))
		asks := strings.Contains(string(page.raw), "other.example")
		return fmt.Sprintf("%d %s, a page that asks: %v", page.status, page.header.Get("Content-Type"), asks)
	}, "200 text/html; charset=utf-8, a page that asks: true"},

	{"set_displayname", func(t *testing.T, st *apiStage) string {
		st.done(t, "set_displayname", request{"user_id": st.alice.id, "new_displayname": "Alice A."})
		return st.bob.must(t, "GET", profile(st.alice, "displayname"), nil).str("displayname")
	}, "Alice A."},

	{"get_user_ip_and_agents", func(t *testing.T, st *apiStage) string {
		u := st.as(t, "seen")
		u.must(t, "POST", callerBase+"/whoami", nil)
		got := st.done(t, "get_user_ip_and_agents", request{"user_id": u.id}).body["ip_and_agents"]
		later := st.done(t, "get_user_ip_and_agents", request{"user_id": u.id, "since_ts": "9000000000000"}).body["ip_and_agents"]
		return st.text([]any{list(got, "ip"), list(got, "user_agent"), list(later, "ip")})
	}, `[["203.0.113.7"],["Browser/1"],null]`},

	{"get_monthly_active_users_by_service", func(t *testing.T, st *apiStage) string {
		users := st.done(t, "get_monthly_active_users_by_service", nil).body["users"]
		none := st.done(t, "get_monthly_active_users_by_service", request{"end_timestamp": 1}).body["users"]
		i := slices.Index(list(users, "user_id"), st.alice.id)
		if i < 0 {
			t.Fatalf("active are %v", users)
		}
		return st.text([]any{member(users, i), none})
	}, `[{"appservice_id":"native","user_id":"@alice:SERVER"},[]]`},

	{"store_remote_3pid_association", func(t *testing.T, st *apiStage) string {
		unbind := func() string {
			r := st.alice.must(t, "POST", "/_matrix/client/v3/account/3pid/unbind", request{"medium": "email", "address": "a@example.org"})
			return r.str("id_server_unbind_result")
		}
		before := unbind()
		st.done(t, "store_remote_3pid_association", request{
			"user_id": st.alice.id, "medium": "email", "address": "a@example.org", "id_server": st.outside.identity.Listener.Addr().String(),
		})
		return fmt.Sprintf("unbind: %s, then %s at %v", before, unbind(), receive(t, st.outside.got)["path"])
	}, "unbind: no-support, then success at /_matrix/identity/v2/3pid/unbind"},

	{"get_room_state", func(t *testing.T, st *apiStage) string {
		filter := []request{{"type": "m.room.name", "state_key": ""}, {"type": "m.room.member"}}
		state := st.done(t, "get_room_state", request{"room_id": st.room, "event_filter": filter}).body["state"]
		types := list(state, "type")
		slices.Sort(types)
		name := st.done(t, "get_room_state", request{"room_id": st.room, "event_filter": filter[:1]}).body["state"]
		all, _ := st.done(t, "get_room_state", request{"room_id": st.room}).body["state"].([]any)
		var client []any
		if err := json.Unmarshal(st.alice.must(t, "GET", room(st.room, "state"), nil).raw, &client); err != nil {
			t.Fatal(err)
		}
		if len(all) != len(client) {
			t.Errorf("the module got %d events, a client %d", len(all), len(client))
		}
		return st.text(types) + " " + st.text(member(name, 0, "event", "json", "content"))
	}, `["m.room.member","m.room.member","m.room.name"] {"name":"Home"}`},

	{"get_state_events_in_room", func(t *testing.T, st *apiStage) string {
		r := request{"room_id": st.room, "types": []request{{"type": "m.room.member", "state_key": st.bob.id}}}
		state := st.done(t, "get_state_events_in_room", r).body["state"]
		event := fmt.Sprint(member(state, 0, "event", "event_id"))
		seen := st.alice.must(t, "GET", room(st.room, "event", event), nil)
		return st.text([]any{list(state, "state_key"), seen.body["content"].(map[string]any)["membership"]})
	}, `[["@bob:SERVER"],"join"]`},

	{"create_and_send_event_into_room", func(t *testing.T, st *apiStage) string {
		r := st.done(t, "create_and_send_event_into_room", request{"event_dict": st.event(st.alice.id, "from the module")})
		seen := st.bob.must(t, "GET", room(st.room, "event", r.str("event", "event_id")), nil)
		return seen.str("sender") + ": " + seen.str("content", "body")
	}, "@alice:SERVER: from the module"},

	// Inside a callback, which leads to the same callback of the same module.
	{"create_and_send_event_into_room", func(t *testing.T, st *apiStage) string {
		got := st.inside(t, "create_and_send_event_into_room", request{"event_dict": st.event(st.bob.id, "from inside")})
		id := fmt.Sprint(member(any(got), "event", "event_id"))
		return "inside check_event_for_spam: " + st.alice.must(t, "GET", room(st.room, "event", id), nil).str("content", "body")
	}, "inside check_event_for_spam: from inside"},

	{"update_room_membership", func(t *testing.T, st *apiStage) string {
		u := st.as(t, "moved")
		change := func(sender, membership string) string {
			r := st.done(t, "update_room_membership", request{
				"sender": sender, "target": u.id, "room_id": st.room, "new_membership": membership, "content": request{"reason": "as told"},
			})
			return r.str("event", "json", "content", "reason")
		}
		reason := change(u.id, "join")
		joined := u.joined(t, st.room)
		change(st.alice.id, "kick")
		return fmt.Sprintf("%s: joined %v, then %v", reason, joined, u.joined(t, st.room))
	}, "as told: joined true, then false"},

	{"create_room", func(t *testing.T, st *apiStage) string {
		r := st.done(t, "create_room", request{
			"user_id": st.alice.id, "config": request{"name": "Made", "room_alias_name": "made"}, "ratelimit": false,
			"creator_join_profile": request{"displayname": "Landlady"},
		})
		id := r.str("room_id")
		me := st.alice.must(t, "GET", room(id, "state", "m.room.member", st.alice.id), nil)
		return fmt.Sprintf("%s, %s in it", r.str("room_alias"), me.str("displayname"))
	}, "#made:SERVER, Landlady in it"},

	{"delete_room", func(t *testing.T, st *apiStage) string {
		id := st.alice.createRoom(t, nil)
		before := st.admin.do(t, "GET", "/_synapse/admin/v1/rooms/"+url.PathEscape(id), nil).String()
		st.done(t, "delete_room", request{"room_id": id})
		gone := `404 M_NOT_FOUND "Room not found"`
		return before + ", then " + eventually(t, gone, func() string {
			return st.admin.do(t, "GET", "/_synapse/admin/v1/rooms/"+url.PathEscape(id), nil).String()
		})
	}, `200, then 404 M_NOT_FOUND "Room not found"`},

	{"lookup_room_alias", func(t *testing.T, st *apiStage) string {
		r := st.done(t, "lookup_room_alias", request{"room_alias": "#home:" + st.s.name})
		client := st.alice.must(t, "GET", "/_matrix/client/v3/directory/room/"+url.PathEscape("#home:"+st.s.name), nil)
		return fmt.Sprintf("as a client: %v, at %s", r.str("room_id") == client.str("room_id"), st.text(r.body["servers"]))
	}, `as a client: true, at ["SERVER"]`},

	{"get_canonical_room_alias", func(t *testing.T, st *apiStage) string {
		st.alice.must(t, "PUT", room(st.room, "state", "m.room.canonical_alias", ""), request{"alias": "#home:" + st.s.name})
		none := st.done(t, "get_canonical_room_alias", request{"room_id": st.alice.createRoom(t, nil)})
		return st.done(t, "get_canonical_room_alias", request{"room_id": st.room}).str("room_alias") + "; of another room " + st.text(none.body)
	}, "#home:SERVER; of another room {}"},

	{"add_room_to_public_room_list", func(t *testing.T, st *apiStage) string {
		before := st.published(t, st.room)
		st.done(t, "add_room_to_public_room_list", request{"room_id": st.room})
		return fmt.Sprintf("listed %v, then %v", before, st.published(t, st.room))
	}, "listed false, then true"},

	{"room_is_in_public_room_list", func(t *testing.T, st *apiStage) string {
		is := func(id string) any {
			return st.done(t, "room_is_in_public_room_list", request{"room_id": id}).body["is_public"]
		}
		return fmt.Sprintf("%v, of no room %v", is(st.room), is("!nothing:"+st.s.name))
	}, "true, of no room false"},

	{"remove_room_from_public_room_list", func(t *testing.T, st *apiStage) string {
		st.done(t, "remove_room_from_public_room_list", request{"room_id": st.room})
		return fmt.Sprintf("listed %v", st.published(t, st.room))
	}, "listed false"},

	{"send_local_online_presence_to", func(t *testing.T, st *apiStage) string {
		st.alice.must(t, "PUT", "/_matrix/client/v3/presence/"+url.PathEscape(st.alice.id)+"/status", request{"presence": "online"})
		_, since := st.bob.sync(t, "")
		for quiet := 0; quiet < 3; testbed.Pause(t) {
			var senders []string
			if senders, since = st.bob.sync(t, since); len(senders) == 0 {
				quiet++
			}
		}
		st.done(t, "send_local_online_presence_to", request{"users": []string{st.bob.id}})
		return "Bob's next sync has the presence of " + eventually(t, st.alice.id, func() string {
			senders, _ := st.bob.sync(t, since)
			senders = slices.DeleteFunc(senders, func(id string) bool { return id != st.alice.id })
			return strings.Join(senders, " ")
		})
	}, "Bob's next sync has the presence of @alice:SERVER"},

	{"set_presence_for_users", func(t *testing.T, st *apiStage) string {
		u := st.as(t, "lunching")
		st.done(t, "update_room_membership", request{"sender": u.id, "target": u.id, "room_id": st.room, "new_membership": "join"})
		st.done(t, "set_presence_for_users", request{"users": request{u.id: request{"state": "unavailable", "status_msg": "lunch"}}})
		r := st.alice.must(t, "GET", "/_matrix/client/v3/presence/"+url.PathEscape(u.id)+"/status", nil)
		return r.str("presence") + ", " + r.str("status_msg")
	}, "unavailable, lunch"},

	{"send_http_push_notification", func(t *testing.T, st *apiStage) string {
		st.alice.must(t, "POST", "/_matrix/client/v3/pushers/set", request{
			"kind": "http", "app_id": "org.example.app", "app_display_name": "App", "device_display_name": "Phone",
			"pushkey": "key", "lang": "en", "data": request{"url": st.outside.gateway.URL + "/_matrix/push/v1/notify"},
		})
		device := st.alice.deviceID(t)
		sent := st.done(t, "send_http_push_notification", request{
			"user_id": st.alice.id, "device_id": device, "content": request{"room_name": "Home"}, "tweaks": request{"sound": "bell"},
		}).body["sent"]
		got := receive(t, st.outside.got)
		n := member(got["body"], "notification")
		return fmt.Sprintf("sent %v; the gateway got %v with %v", member(sent, device), member(n, "room_name"), member(n, "devices", 0, "tweaks"))
	}, "sent true; the gateway got Home with map[sound:bell]"},

	{"set_push_rule_action", func(t *testing.T, st *apiStage) string {
		st.done(t, "set_push_rule_action", request{
			"user_id": st.alice.id, "scope": "global", "kind": "underride", "rule_id": ".m.rule.message",
			"actions": []string{"notify", `{"set_tweak": "sound", "value": "bell"}`},
		})
		r := st.alice.must(t, "GET", "/_matrix/client/v3/pushrules/global/underride/.m.rule.message", nil)
		return st.text(r.body["actions"])
	}, `["notify",{"set_tweak":"sound","value":"bell"}]`},

	{"send_mail", func(t *testing.T, st *apiStage) string {
		st.done(t, "send_mail", request{"recipient": "a@example.org", "subject": "Greetings", "html": "<p>hello</p>", "text": "hello"})
		mail := receive(t, st.mails.mails)
		return fmt.Sprintf("a mail: %v", strings.Contains(mail, "Subject: Greetings") && strings.Contains(mail, "To: a@example.org"))
	}, "a mail: true"},

	{"send_federation_http_request", func(t *testing.T, st *apiStage) string {
		r := st.call(t, "send_federation_http_request", request{"method": "GET", "remote_server_name": st.s.name, "path": "/_matrix/federation/v1/version"})
		return "not in Synapse 1.163.2: " + r.String()
	}, `not in Synapse 1.163.2: 404 M_UNRECOGNIZED "This version of Synapse has no send_federation_http_request"`},

	{"get_global", func(t *testing.T, st *apiStage) string {
		st.alice.must(t, "PUT", st.accountData("org.example.mine"), request{"colour": "red"})
		none := st.done(t, "get_global", request{"user_id": st.alice.id, "data_type": "org.example.none"}).body
		st.alice.must(t, "PUT", st.accountData("org.example.empty"), request{})
		empty := st.done(t, "get_global", request{"user_id": st.alice.id, "data_type": "org.example.empty"}).body
		got := st.done(t, "get_global", request{"user_id": st.alice.id, "data_type": "org.example.mine"}).body
		return st.text([]any{got, empty, none})
	}, `[{"data":{"colour":"red"}},{"data":{}},{}]`},

	{"put_global", func(t *testing.T, st *apiStage) string {
		st.done(t, "put_global", request{"user_id": st.alice.id, "data_type": "org.example.theirs", "new_data": request{"colour": "blue"}})
		return st.text(st.alice.must(t, "GET", st.accountData("org.example.theirs"), nil).body)
	}, `{"colour":"blue"}`},
}

// lastAPIScenes are about parts of Synapse that are not its ModuleApi.
var lastAPIScenes = []apiScene{
	{"get_external_ids_by_user", func(t *testing.T, st *apiStage) string {
		u := st.as(t, "linked")
		st.done(t, "record_user_external_id", request{"auth_provider_id": "oidc-y", "remote_user_id": "42", "registered_user_id": u.id})
		return st.text(st.done(t, "get_external_ids_by_user", request{"mxid": u.id}).body["external_ids"])
	}, `[{"auth_provider":"oidc-y","external_id":"42"}]`},

	{"get_user_by_external_id", func(t *testing.T, st *apiStage) string {
		whose := func(id string) any {
			return st.done(t, "get_user_by_external_id", request{"auth_provider": "oidc-y", "external_id": id}).body
		}
		return st.text([]any{whose("42"), whose("43")})
	}, `[{"user_id":"@linked:SERVER"},{}]`},

	{"add_threepid", func(t *testing.T, st *apiStage) string {
		u := st.as(t, "mailed")
		st.done(t, "add_threepid", request{"user_id": u.id, "medium": "email", "address": "Mailed@example.org", "validated_at": "1700000000000"})
		of := u.must(t, "GET", "/_matrix/client/v3/account/3pid", nil).body["threepids"]
		other := st.call(t, "add_threepid", request{"user_id": u.id, "medium": "pigeon", "address": "x", "validated_at": "1"})
		return st.text(list(of, "address")) + "; " + other.String()
	}, `["mailed@example.org"]; 400 M_INVALID_PARAM "'pigeon' is not a valid value for 'medium'"`},

	{"get_users_paginate", func(t *testing.T, st *apiStage) string {
		names := func(r request) any { return list(st.done(t, "get_users_paginate", r).body["users"], "name") }
		for _, name := range []string{"temp-1", "temp-2", "temp-3"} {
			st.as(t, name)
		}
		return st.text([]any{
			names(request{"user_id": "@temp-", "limit": 2}), names(request{"user_id": "@temp-", "limit": 2, "start": 2}),
			names(request{"name": "temp-", "limit": 1, "direction": "b"}),
			st.done(t, "get_users_paginate", request{"user_id": "@temp-"}).body,
		})
	}, `[["@temp-1:SERVER","@temp-2:SERVER"],["@temp-3:SERVER"],["@temp-3:SERVER"],{"total":"3","users":[]}]`},

	{"deactivate_account", func(t *testing.T, st *apiStage) string {
		u := st.as(t, "temp-4")
		st.done(t, "deactivate_account", request{"user_id": u.id, "erase_data": true})
		left := st.done(t, "get_users_paginate", request{"user_id": "@temp-4", "limit": 1, "deactivated": true}).body["users"]
		nobody := st.call(t, "deactivate_account", request{"user_id": st.id("nobody")})
		who := u.do(t, "GET", "/_matrix/client/v3/account/whoami", nil)
		return fmt.Sprintf("%s; deactivated %v, erased %v; nobody: %s", who, member(left, 0, "deactivated"), member(left, 0, "erased"), nobody)
	}, `401 M_UNKNOWN_TOKEN "Invalid access token passed." {"soft_logout":false}; deactivated true, erased true; nobody: 404 M_NOT_FOUND "There is no such user"`},

	{"create_registration_token", func(t *testing.T, st *apiStage) string {
		created := func(r request) any { return st.done(t, "create_registration_token", r).body["created"] }
		r := request{"token": "once", "uses_allowed": 1}
		first, second := created(r), created(request{"token": "once"})
		at := st.admin.must(t, "GET", "/_synapse/admin/v1/registration_tokens/once", nil)
		return fmt.Sprintf("created %v, then %v; the admin sees %s", first, second, st.text(only(at.body, "token", "uses_allowed", "expiry_time")))
	}, `created true, then false; the admin sees {"expiry_time":null,"token":"once","uses_allowed":1}`},

	{"registration_token_is_valid", func(t *testing.T, st *apiStage) string {
		valid := func(token string) any {
			return st.done(t, "registration_token_is_valid", request{"token": token}).body["is_valid"]
		}
		return fmt.Sprintf("once %v, another %v", valid("once"), valid("another"))
	}, "once true, another false"},

	{"get_registration_tokens", func(t *testing.T, st *apiStage) string {
		st.done(t, "create_registration_token", request{"token": "over", "expiry_time": "1"})
		listed := func(r request) any { return st.done(t, "get_registration_tokens", r).body["tokens"] }
		return st.text([]any{listed(request{"valid": true}), list(listed(request{"valid": false}), "token"), len(list(listed(nil), "token"))})
	}, `[[{"completed":0,"pending":0,"token":"once","uses_allowed":1}],["over"],2]`},

	{"delete_registration_token", func(t *testing.T, st *apiStage) string {
		deleted := func() any {
			return st.done(t, "delete_registration_token", request{"token": "over"}).body["deleted"]
		}
		return fmt.Sprintf("deleted %v, then %v", deleted(), deleted())
	}, "deleted true, then false"},
}

func (st *apiStage) accountData(kind string) string {
	return "/_matrix/client/v3/user/" + url.PathEscape(st.alice.id) + "/account_data/" + kind
}

// login logs in with a token, as a client does that the browser came back to.
func (st *apiStage) login(t *testing.T, token string) string {
	t.Helper()
	r := st.s.nobody().do(t, "POST", "/_matrix/client/v3/login", request{"type": "m.login.token", "token": token})
	if r.status != http.StatusOK {
		return r.String()
	}
	return "logged in as " + r.str("user_id")
}

// browse makes a request that follows no redirect.
func (st *apiStage) browse(t *testing.T, path string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, st.s.url+path, nil)
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
