//go:build integration

package synapse_test

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/integration/testbed"
)

// moreScenes are those that take more than one server, or more than one request.
var moreScenes = []scene{
	{
		callback: "on_media_upload_limit_exceeded",
		act: func(t *testing.T, st *stage, say func(string)) string {
			u := st.newUser(t)
			say(u.id)
			r := u.do(t, "POST", "/_matrix/media/v3/upload", []byte(strings.Repeat("x", 1000)))
			delete(r.body, "info_uri") // A page of Synapse's own.
			return r.String() + ", " + st.told(t, "on_media_upload_limit_exceeded", u.id)
		},
		answers: notices(`403 M_USER_LIMIT_EXCEEDED "Media upload limit exceeded", told`, broken+", told"),
		also: map[string]string{"get_media_upload_limits_for_user": `{
			"when": "WHEN", "reply": {"limits": {"limits": [{"max_bytes": 10, "time_period_ms": 1000000}]}},
			"python": [{"$": "MediaUploadLimit", "value": {"max_bytes": 10, "time_period_ms": 1000000}}]}`},
	},

	{callback: "get_interested_users", act: func(t *testing.T, st *stage, say func(string)) string {
		watched, watching := st.newUser(t), st.newUser(t)
		watched.online(t, "hello")
		say(watching.id)
		r := watching.do(t, "GET", "/_matrix/client/v3/sync?timeout=0", nil)
		return r.String() + ", " + seen(r, watched)
	}, answers: []answer{
		{"no opinion", silent, "200, does not see it"},
		{"some users", `{"reply": {"users": ["BOB"]}, "python": {"$": "set", "items": ["BOB"]}}`, "200, does not see it"},
		{"everybody", `{"reply": {"all_users": true}, "python": "ALL"}`, "200, sees it"},
		{"fails", fails, "200, does not see it"},
	}, also: map[string]string{
		// Without it Synapse fails where somebody is interested in everybody.
		"get_users_for_states": `{"states": ["WHEN"], "python": {"$": "states", "users": ["WHEN"]}}`,
	}},

	{callback: "get_interested_users, one", act: func(t *testing.T, st *stage, say func(string)) string {
		watching := st.newUser(t)
		st.bob.online(t, st.unique("status"))
		say(watching.id)
		r := watching.do(t, "GET", "/_matrix/client/v3/sync?timeout=0", nil)
		return r.String() + ", " + seen(r, st.bob)
	}, answers: []answer{
		{"no opinion", silent, "200, does not see it"},
		{"some users", `{"reply": {"users": ["BOB"]}, "python": {"$": "set", "items": ["BOB"]}}`, "200, sees it"},
	}},

	{callback: "get_users_for_states", act: func(t *testing.T, st *stage, say func(string)) string {
		// Of what is routed to a user that shares no room, it is woken up; what it then gets get_interested_users says.
		watching := st.newUser(t)
		st.bob.online(t, st.unique("status"))
		say("")
		since := watching.must(t, "GET", "/_matrix/client/v3/sync?timeout=0&set_presence=offline", nil).str("next_batch")
		waits := make(chan string, 1)
		go func() {
			started := time.Now()
			path := "/_matrix/client/v3/sync?timeout=4000&set_presence=offline&since=" + url.QueryEscape(since)
			r, err := watching.try(t.Context(), "GET", path, nil)
			if err != nil || time.Since(started) > 3*time.Second {
				waits <- fmt.Sprint(r.status, ", was not woken up")
				return
			}
			waits <- r.String() + ", " + seen(r, st.bob)
		}()
		time.Sleep(300 * time.Millisecond) //nolint:forbidigo // nothing tells that the server has begun to wait
		st.say(t, map[string]string{
			"get_users_for_states": strings.ReplaceAll(st.entry(t, "get_users_for_states"), "WATCHING", watching.id),
			"get_interested_users": `{"when": "` + watching.id + `", "reply": {"users": ["` + st.bob.id + `"]},
				"python": {"$": "set", "items": ["` + st.bob.id + `"]}}`,
		})
		st.bob.online(t, st.unique("status"))
		return <-waits
	}, answers: []answer{
		{"no opinion", silent, "200, was not woken up"},
		{"routes it", `{"states": ["WATCHING"], "python": {"$": "states", "users": ["WATCHING"]}}`, "200, sees it"},
		{"fails", fails, "200, was not woken up"},
	}},

	{callback: "user_may_send_3pid_invite", act: inviteByEmail, answers: refusals("200", "Cannot send threepid invite")},
	{callback: "check_threepid_can_be_invited", act: inviteByEmail, answers: booleans("200", `403 M_FORBIDDEN "This third-party identifier can not be invited in this room"`, "200")},

	{callback: "federated_user_may_invite", act: func(t *testing.T, st *stage, say func(string)) string {
		id := st.peer.carol.createRoom(t, nil)
		invitee := st.newUser(t)
		say(id)
		return st.peer.carol.do(t, "POST", room(id, "invite"), map[string]any{"user_id": invitee.id}).String()
	}, answers: []answer{
		{"no opinion", silent, "200"},
		{"a code", `{"reply": {"refusal": {"errcode": "M_LIMIT_EXCEEDED"}}, "python": {"$": "Codes", "value": "M_LIMIT_EXCEEDED"}}`, `403 M_LIMIT_EXCEEDED "This user is not permitted to send invites to this server/user"`},
		{
			"a code, a text and fields",
			`{"reply": {"refusal": {"errcode": "M_FORBIDDEN", "error": "not here", "additional_fields": {"org.example.n": 1}}},
			  "python": {"$": "tuple", "items": [{"$": "Codes", "value": "M_FORBIDDEN"}, {"error": "not here", "org.example.n": 1}]}}`,
			`403 M_FORBIDDEN "not here" {"org.example.n":1}`,
		},
		{"fails", fails, `502 M_UNKNOWN "Can't connect to server SERVER"`},
	}},

	{callback: "check_event_for_spam, federated", act: fromAfar("check_event_for_spam"), answers: []answer{
		{"no opinion", silent, "sent 200, arrives"},
		{"a code", `{"reply": {"refusal": {}}, "python": {"$": "Codes", "value": "M_FORBIDDEN"}}`, "sent 200, does not arrive"},
		{"fails", fails, "sent 200, arrives"},
	}},

	{callback: "should_drop_federated_event", act: fromAfar("should_drop_federated_event"), answers: []answer{
		{"no opinion", silent, "sent 200, arrives"},
		{"a refusal", `{"reply": {"refusal": {}}, "python": true}`, "sent 200, does not arrive"},
	}},

	{callback: "on_event_delivered_over_federation", act: func(t *testing.T, st *stage, say func(string)) string {
		id := st.sharedRoom(t)
		text := st.unique("message")
		say(text)
		r := st.alice.do(t, "PUT", room(id, "send", "m.room.message", text), message(text))
		return r.String() + ", " + st.told(t, "on_event_delivered_over_federation", text)
	}, answers: notices("200, told", "200, told")},
}

// lastScenes are those after which a server is not what it was.
var lastScenes = []scene{
	{callback: "min_batch_size", act: backgroundUpdate("min_batch_size"), answers: []answer{
		{"no opinion", silent, "200, told, done"},
		{"a size", `{"reply": {"batch_size": 2}, "python": 2}`, "200, told, done"},
	}},
	{callback: "on_update", act: backgroundUpdate("on_update"), answers: []answer{
		{"no opinion", silent, "200, told, done"},
		{"a duration", `{"reply": {"target_duration_ms": 50}, "python": 50}`, "200, told, done, heard of the end"},
		{"fails", fails, "200, told, not done"},
	}},
	{callback: "default_batch_size", act: firstBatch, answers: []answer{
		{"no opinion", silent, "told, batches of 100"}, // Synapse's own size.
		{"a size", `{"reply": {"batch_size": 7}, "python": 7}`, "told, batches of 7"},
		{"fails", fails, "told, gives up"},
	}},
	{callback: "min_batch_size, later", act: laterBatch, answers: []answer{
		{"a size", `{"reply": {"batch_size": 500000}, "python": 500000}`, "told, batches of 500000"},
		{"fails", fails, "told, gives up"},
	}},
}

func (u user) online(t *testing.T, status string) {
	t.Helper()
	path := "/_matrix/client/v3/presence/" + url.PathEscape(u.id) + "/status"
	u.must(t, "PUT", path, map[string]any{"presence": "online", "status_msg": status})
}

// seen says whether a sync tells of the user's presence.
func seen(r reply, u user) string {
	presence, _ := r.body["presence"].(map[string]any)
	events, _ := presence["events"].([]any)
	for _, e := range events {
		if e.(map[string]any)["sender"] == u.id {
			return "sees it"
		}
	}
	return "does not see it"
}

func inviteByEmail(t *testing.T, st *stage, say func(string)) string {
	address := st.unique("friend") + "@example.org"
	say(address)
	return st.alice.do(t, "POST", room(st.room, "invite"), map[string]any{
		"medium": "email", "address": address, "id_server": st.peer.identity, "id_access_token": "token",
	}).String()
}

// sharedRoom is one in which alice and a user of the other server are.
func (st *stage) sharedRoom(t *testing.T) string {
	t.Helper()
	id := st.alice.createRoom(t, nil)
	path := "/_matrix/client/v3/join/" + url.PathEscape(id) + "?server_name=" + url.QueryEscape(st.s.name)
	st.peer.carol.must(t, "POST", path, map[string]any{})
	return id
}

// fromAfar has a user of the other server send a message that the callback is asked about.
func fromAfar(callback string) func(*testing.T, *stage, func(string)) string {
	return func(t *testing.T, st *stage, say func(string)) string {
		id := st.sharedRoom(t)
		text := st.unique("message")
		say(text)
		r := st.peer.carol.do(t, "PUT", room(id, "send", "m.room.message", text), message(text))
		st.told(t, callback, text)
		arrived := func() string {
			messages := st.alice.must(t, "GET", room(id, "messages")+"?dir=b&limit=10", nil)
			if strings.Contains(string(messages.raw), text) {
				return "arrives"
			}
			return "does not arrive"
		}
		deadline := time.Now().Add(1500 * time.Millisecond)
		for arrived() != "arrives" && time.Now().Before(deadline) {
			testbed.Pause(t)
		}
		return "sent " + r.String() + ", " + arrived()
	}
}

const (
	updatesPath = "/_synapse/admin/v1/background_updates/"
	updateJob   = "populate_stats_process_rooms"
)

// updates says whether all background updates are done.
func (st *stage) updates(t *testing.T) string {
	t.Helper()
	status := st.admin.must(t, "GET", updatesPath+"status", nil)
	if current, _ := status.body["current_updates"].(map[string]any); len(current) > 0 {
		return "not done"
	}
	return "done"
}

// backgroundUpdate has an admin start one.
func backgroundUpdate(callback string) func(*testing.T, *stage, func(string)) string {
	return func(t *testing.T, st *stage, say func(string)) string {
		eventually(t, "done", func() string { return st.updates(t) })
		before, ends := len(st.calls(t, callback, "")), len(st.calls(t, "on_update_end", ""))
		say("")
		r := st.admin.do(t, "POST", updatesPath+"start_job", map[string]any{"job_name": updateJob})
		told := eventually(t, "told", func() string { // Until then it may not have begun, which looks like done.
			if len(st.calls(t, callback, "")) > before {
				return "told"
			}
			return "not told"
		})
		done := eventually(t, "done", func() string { return st.updates(t) })
		got := r.String() + ", " + told + ", " + done
		if callback == "on_update" && len(st.calls(t, "on_update_end", "")) > ends {
			got += ", heard of the end"
		}
		return got
	}
}

var batches = regexp.MustCompile(`Running background update '` + updateJob + `'.* batch_size=(\d+)`)

// firstBatch has a Synapse do a background update that it has not done before since it was started: what it has done, it
// measured, and chooses the size itself.
func firstBatch(t *testing.T, st *stage, say func(string)) string {
	before := len(st.calls(t, "default_batch_size", updateJob))
	st.s.stop()
	say("")
	st.s.start(t)
	st.update(t)
	return st.batch(t, "default_batch_size", before, 0)
}

// laterBatch has a Synapse do one that it has measured.
func laterBatch(t *testing.T, st *stage, say func(string)) string {
	st.s.stop()
	st.s.start(t)
	st.update(t)
	eventually(t, "done", func() string {
		if batchIn(st.s.log.String()) == "" {
			return "not begun" // Which looks like done.
		}
		return st.updates(t)
	})
	before, since := len(st.calls(t, "min_batch_size", updateJob)), len(st.s.log.String())
	say("")
	st.update(t)
	return st.batch(t, "min_batch_size", before, since)
}

// update has an admin start a background update, unless the last one is taken up again.
func (st *stage) update(t *testing.T) {
	t.Helper()
	if st.updates(t) == "done" {
		st.admin.must(t, "POST", updatesPath+"start_job", map[string]any{"job_name": updateJob})
	}
}

// batch waits until the log, from there on, has said what became of one. It says whether the callback was asked more often
// than before.
func (st *stage) batch(t *testing.T, callback string, before, since int) string {
	t.Helper()
	came := ""
	for deadline := time.Now().Add(30 * time.Second); came == "" && time.Now().Before(deadline); testbed.Pause(t) {
		came = batchIn(st.s.log.String()[since:])
	}
	if len(st.calls(t, callback, updateJob)) == before {
		return "not told, " + came
	}
	return "told, " + came
}

// batchIn is what a log says of its first batch; nothing before there was one.
func batchIn(log string) string {
	if m := batches.FindStringSubmatch(log); m != nil {
		return "batches of " + m[1]
	}
	if strings.Contains(log, "5 back-to-back background update failures") {
		return "gives up"
	}
	return ""
}
