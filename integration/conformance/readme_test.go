package conformance_test

import (
	"strings"
	"testing"

	"github.com/modulebus/modulebus/internal/natstest"
)

// TestConformanceReadsTheFormat has records with all that the format's README describes and our files have none of.
func TestConformanceReadsTheFormat(t *testing.T) {
	t.Parallel()
	all, err := parseVectors(strings.NewReader(formatExamples))
	if err != nil {
		t.Fatal(err)
	}
	s, tally := newStage(t, natstest.InProcess(t), actorNames(all)), newTally()
	for _, r := range all {
		p := s.perform(t, r)
		if len(p.differences) > 0 {
			t.Errorf("%s", p)
		}
		tally.add(p)
	}
}

func TestConformanceKnowsNoOtherCallbacks(t *testing.T) {
	t.Parallel()
	all, err := parseVectors(strings.NewReader(`
{"id": "x", "synapse": "9", "callback": "user_may_fly", "modules": [{"name": "m", "registers": true, "outcome": {"kind": "return", "value": 1}}],
 "called": ["m"], "result": {"kind": "return", "value": true}}`))
	if err != nil {
		t.Fatal(err)
	}
	tally := newTally()
	tally.add((&stage{}).perform(t, all[0]))
	if len(tally.errors) != 1 {
		t.Errorf("errors are %q", tally.errors)
	}
}

const formatExamples = `
{"id": "changes in place, and a result with the content", "synapse": "1.163.2", "category": "third_party_rules", "callback": "on_create_room",
 "args": {"requester": {"$": "Requester", "user_id": "@a:example.com", "scope": {"$": "set", "items": ["x"]}, "unknown": 1},
          "request_content": {"name": "A", "invite": ["@b:example.com"]}, "is_requester_admin": false},
 "modules": [
  {"name": "one", "registers": true, "outcome": {"kind": "mutate", "what": "set", "key": "topic", "value": "T"}},
  {"name": "two", "registers": true, "outcome": {"kind": "mutate", "what": "append", "key": "invite", "value": "@c:example.com"}},
  {"name": "three", "registers": true, "outcome": {"kind": "mutate", "what": "delete", "key": "name"}},
  {"name": "four", "registers": false}],
 "called": ["one", "two", "three"],
 "seen": {"two": {"name": "A", "invite": ["@b:example.com"], "topic": "T"},
          "three": {"name": "A", "invite": ["@b:example.com", "@c:example.com"], "topic": "T"}},
 "result": {"kind": "return", "value": null, "request_content": {"invite": ["@b:example.com", "@c:example.com"], "topic": "T"}}}

{"id": "a sentinel that is a string, and no word of the other one of the pair", "synapse": "1.163.2", "category": "presence_router",
 "callback": "get_interested_users", "args": {"user_id": "@a:example.com"},
 "modules": [
  {"name": "one", "registers": true, "outcome": {"kind": "return", "value": {"$": "set", "items": ["@b:example.com"]}}},
  {"name": "two", "registers": true, "outcome": {"kind": "return", "value": "ALL"}},
  {"name": "three", "registers": true, "outcome": {"kind": "raise", "error": "RuntimeError", "message": "boom"}}],
 "called": ["one", "two"], "result": {"kind": "return", "value": "ALL"}}

{"id": "a login without a word of who registered what", "synapse": "1.163.2", "category": "password_auth_provider", "callback": "auth_checkers",
 "args": {"user": "a", "login_type": "m.login.password", "login_dict": {"password": "p"}},
 "modules": [
  {"name": "one", "registers": true, "outcome": {"kind": "return", "value": null}},
  {"name": "two", "registers": true, "outcome": {"kind": "return", "value": {"$": "tuple", "items": ["@a:example.com", {"$": "callable"}]}}}],
 "called": ["one", "two"],
 "result": {"kind": "return", "value": {"$": "tuple", "items": ["@a:example.com", {"$": "callable"}]}}}

{"id": "a login that nobody knows", "synapse": "1.163.2", "category": "password_auth_provider", "callback": "auth_checkers",
 "args": {"user": "a", "login_type": "m.login.password", "login_dict": {"password": "p"}},
 "modules": [{"name": "one", "registers": true, "outcome": {"kind": "return", "value": null}}],
 "called": ["one"], "result": {"kind": "return", "value": null}}

{"id": "state that is a list of events", "synapse": "1.163.2", "category": "third_party_rules", "callback": "check_threepid_can_be_invited",
 "args": {"medium": "email", "address": "a@example.com", "state_events": [{"$": "event", "event_id": "$e", "room_version": "11",
          "json": {"type": "m.room.name", "state_key": "", "content": {"name": "A"}}}]},
 "modules": [{"name": "one", "registers": true, "outcome": {"kind": "return", "value": false}}],
 "called": ["one"], "result": {"kind": "return", "value": false}}

{"id": "a homeserver that says nothing of itself", "synapse": "1.163.2", "category": "background_update_controller", "callback": "min_batch_size",
 "args": {"update_name": "u", "database_name": "d"}, "modules": [], "called": [], "result": {"kind": "return", "value": 1}}
`
