package asks_test

// row is one ask: what is asked of whom, and what comes of it. In requests and answers, SERVER is the homeserver's name.
type row struct {
	name     string
	callback string
	request  string   // JSON
	modules  []part   // in roster order: first, second, third
	by       string   // the module that decided; empty is none, or several
	answer   string   // JSON; default: what the module that decided says. "none" is none
	failures []string // module, failure, policy
	failed   string   // module and failure that left the ask without a decision
}

// part is what one module does in a row.
type part struct {
	says      string // its answer, in JSON; empty is no opinion
	fails     string // what it does in place of answering: absent, timeout, busy, error, panic or malformed
	policy    string // on_failure, as the operator writes it
	registers string // another callback, in place of the row's
	unasked   bool   // it must not be asked
	hears     string // what it is asked with, where that is not the request
	keys      map[string][]string
	raw       string // "json" or "protobuf": it is no program with the kit, but a script with a connection
}

var (
	silentPart = part{}
	no         = part{says: `{"refusal": {"errcode": "M_FORBIDDEN", "error": "Not you"}}`}
	noEither   = part{says: `{"refusal": {"errcode": "ORG_EXAMPLE_NO", "error": "Nor you", "additional_fields": {"a": [1, {"b": null}]}}}`}
)

const (
	message1  = `{"event_id": "$1", "room_version": "11", "json": {"type": "m.room.message", "sender": "@alice:SERVER", "room_id": "!r:SERVER", "content": {"body": "<b> & \u2028 é", "n": 1.0, "big": 12345678901234567890}}}`
	federated = `{"event_id": "$2", "room_version": "11", "json": {"type": "m.room.message", "sender": "@mallory:elsewhere.example", "room_id": "!r:SERVER", "content": {}}}`
	member    = `{"type": "m.room.member", "state_key": "@alice:SERVER", "event": {"event_id": "$m", "room_version": "11", "json": {"type": "m.room.member", "state_key": "@alice:SERVER", "content": {"membership": "join"}}}}`
	createBob = `{"user_id": "@bob:SERVER", "room_config": {"preset": "private_chat", "invite": []}}`
	requester = `{"user_id": "@alice:SERVER", "access_token_id": "7", "is_guest": false, "scope": ["a"], "shadow_banned": false, "device_id": "DEV", "authenticated_entity": "@alice:SERVER"}`
	online    = `{"user_id": "@alice:SERVER", "state": "online", "last_active_ts": "1700000000000", "last_federation_update_ts": "0", "last_user_sync_ts": "1", "status_msg": "busy \"now\"", "currently_active": true}`
)

// notified are the callbacks that only tell: for each of them there is a row in which two modules are told.
var notified = map[string]string{
	"account_data.on_account_data_updated":                    `{"user_id": "@a:SERVER", "room_id": "!r:SERVER", "account_data_type": "m.tag", "content": {"tags": {}}}`,
	"account_validity.on_user_login":                          `{"user_id": "@a:SERVER", "auth_provider_type": "m.login.sso", "auth_provider_id": "oidc"}`,
	"account_validity.on_user_registration":                   `{"user": "@a:SERVER"}`,
	"federation.on_event_delivered_over_federation":           `{"delivery": {"server_name": "elsewhere.example", "events": [` + message1 + `], "method": "/send"}}`,
	"media_repository.on_media_upload_limit_exceeded":         `{"user_id": "@a:SERVER", "limit": {"max_bytes": "100", "time_period_ms": "1000", "can_upgrade": true}, "sent_bytes": "90", "attempted_bytes": "20"}`,
	"password_auth_provider.on_logged_out":                    `{"user_id": "@a:SERVER", "device_id": "DEV", "access_token": "syt_secret"}`,
	"third_party_rules.on_add_user_third_party_identifier":    `{"user_id": "@a:SERVER", "medium": "email", "address": "a@example.com"}`,
	"third_party_rules.on_new_event":                          `{"event": ` + message1 + `, "state_events": [` + member + `]}`,
	"third_party_rules.on_profile_update":                     `{"user_id": "@a:SERVER", "new_profile": {"display_name": "A", "avatar_url": "mxc://x/y"}, "by_admin": true, "deactivation": false}`,
	"third_party_rules.on_remove_user_third_party_identifier": `{"user_id": "@a:SERVER", "medium": "email", "address": "a@example.com"}`,
	"third_party_rules.on_threepid_bind":                      `{"user_id": "@a:SERVER", "medium": "msisdn", "address": "49123"}`,
	"third_party_rules.on_user_deactivation_status_changed":   `{"user_id": "@a:SERVER", "deactivated": true, "by_admin": false}`,
}

// verdicts are the callbacks that can refuse, and ask modules one after the other or all at once: for each of them there
// is a row in which the second module refuses, and one in which nobody does.
var verdicts = map[string]string{
	"media_repository.is_user_allowed_to_upload_media_of_size": `{"user_id": "@a:SERVER", "size": "9007199254740993"}`,
	"password_auth_provider.is_3pid_allowed":                   `{"medium": "email", "address": "a@example.com", "registration": true}`,
	"spam_checker.accept_make_join":                            `{"user": "@b:elsewhere.example", "room": "!r:SERVER"}`,
	"spam_checker.check_event_for_spam":                        `{"event": ` + message1 + `}`,
	"spam_checker.check_login_for_spam":                        `{"user_id": "@a:SERVER", "device_id": "DEV", "request_info": [{"user_agent": "curl", "ip": "::1"}], "auth_provider_id": "oidc"}`,
	"spam_checker.check_media_file_for_spam":                   `{"file_info": {"server_name": "elsewhere.example", "file_id": "abc", "url_cache": false, "thumbnail": {"width": 32, "height": 32, "method": "crop", "type": "image/png", "length": "512"}}}`,
	"spam_checker.check_registration_for_spam":                 `{"email_threepid": {"medium": "email", "address": "a@example.com", "validated_at": "1700000000000"}, "username": "a", "request_info": [{"user_agent": "curl", "ip": "127.0.0.1"}, {"ip": "::1"}]}`,
	"spam_checker.check_username_for_spam":                     `{"user_profile": {"user_id": "@x:SERVER", "display_name": "", "avatar_url": "mxc://x/y"}, "requester_id": "@a:SERVER"}`,
	"spam_checker.federated_user_may_invite":                   `{"event": ` + federated + `}`,
	"spam_checker.should_drop_federated_event":                 `{"event": ` + federated + `}`,
	"spam_checker.user_may_create_room":                        createBob,
	"spam_checker.user_may_create_room_alias":                  `{"user_id": "@a:SERVER", "room_alias": "#küche:SERVER"}`,
	"spam_checker.user_may_invite":                             `{"inviter": "@a:SERVER", "invitee": "@b:elsewhere.example", "room_id": "!r:SERVER"}`,
	"spam_checker.user_may_join_room":                          `{"user": "@a:SERVER", "room": "!r:SERVER", "is_invited": true}`,
	"spam_checker.user_may_publish_room":                       `{"user_id": "@a:SERVER", "room_id": "!r:SERVER"}`,
	"spam_checker.user_may_send_3pid_invite":                   `{"inviter": "@a:SERVER", "medium": "email", "address": "b@example.com", "room_id": "!r:SERVER"}`,
	"spam_checker.user_may_send_state_event":                   `{"user_id": "@a:SERVER", "room_id": "!r:SERVER", "event_type": "m.room.topic", "state_key": "", "content": {"topic": "t"}}`,
	"third_party_rules.check_can_deactivate_user":              `{"user_id": "@a:SERVER", "by_admin": true}`,
	"third_party_rules.check_can_shutdown_room":                `{"user_id": "@admin:SERVER", "room_id": "!r:SERVER"}`,
	"third_party_rules.check_event_allowed":                    `{"event": ` + message1 + `, "state_events": [` + member + `]}`,
	"third_party_rules.check_threepid_can_be_invited":          `{"medium": "email", "address": "b@example.com", "state_events": [` + member + `]}`,
	"third_party_rules.check_visibility_can_be_modified":       `{"room_id": "!r:SERVER", "state_events": [], "new_visibility": "public"}`,
}

var passwords = map[string][]string{"m.login.password": {"password"}}

// rows are all others.
var rows = []row{
	// What every callback has in common is tried with the founding page's.
	{
		name: "the earlier of two refusals counts", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{noEither, no}, by: "first",
	},
	{
		name: "a module that does not implement the callback is passed over", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{registers: "spam_checker.user_may_invite", unasked: true}, no}, by: "second",
	},
	{
		name: "nobody implements the callback", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{registers: "spam_checker.user_may_invite", unasked: true}},
	},
	{
		name: "an empty answer is no opinion", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{says: `{}`}, {says: `{}`, raw: "json"}, {says: `{}`, raw: "protobuf"}},
	},
	{
		name: "a refusal without an errcode is M_FORBIDDEN", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{says: `{"refusal": {"error": "Not you"}}`}}, by: "first", answer: no.says,
	},
	{
		name: "a script that speaks JSON takes part", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{}, {says: noEither.says, raw: "json"}, no}, by: "second",
	},
	{
		name: "a script that speaks protobuf takes part", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{}, {says: noEither.says, raw: "protobuf"}, no}, by: "second",
	},
	{
		name: "an error is Synapse's own: the ask fails", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{}, {fails: "error"}, no}, failed: "second error",
	},
	{
		name: "what fails behind the module that decided does not matter", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{no, {fails: "error"}, {fails: "panic"}}, by: "first",
	},
	{
		name: "failures that are skipped are told", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{fails: "panic", policy: "skip"}, {fails: "timeout", policy: "skip"}, no}, by: "third",
		failures: []string{"first panic skip", "second timeout skip"},
	},
	{
		name: "a chain of modules that fail and are skipped has no opinion", callback: "spam_checker.user_may_create_room", request: createBob,
		modules:  []part{{fails: "error", policy: "skip"}, {fails: "absent", policy: "skip"}, {fails: "malformed", policy: "skip"}},
		failures: []string{"first error skip", "second absent skip", "third malformed skip"},
	},
	{
		name: "a failure may refuse", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{fails: "error", policy: "skip"}, {fails: "timeout", policy: "refuse"}, noEither}, by: "second",
		answer:   `{"refusal": {"errcode": "M_FORBIDDEN", "error": "Module second could not be asked"}}`,
		failures: []string{"first error skip", "second timeout refuse"},
	},
	{
		name: "an absent module fails the ask", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{fails: "absent"}}, failed: "first absent",
	},
	{
		name: "a busy module fails the ask", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{fails: "busy", raw: "json"}}, failed: "first busy",
	},
	{
		name: "garbage fails the ask", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{fails: "malformed", raw: "protobuf"}}, failed: "first malformed",
	},
	{
		name: "a panic fails the ask", callback: "spam_checker.user_may_create_room", request: createBob,
		modules: []part{{fails: "panic"}}, failed: "first panic",
	},

	// Where the origin matters.
	{
		name: "a failure fails the ask about a local event", callback: "spam_checker.check_event_for_spam", request: `{"event": ` + message1 + `}`,
		modules: []part{{fails: "error"}}, failed: "first error",
	},
	{
		name: "a failure is skipped for an event of another server", callback: "spam_checker.check_event_for_spam", request: `{"event": ` + federated + `}`,
		modules: []part{{fails: "error"}}, failures: []string{"first error skip"},
	},
	{
		name: "the operator may tell origins apart", callback: "spam_checker.check_event_for_spam", request: `{"event": ` + federated + `}`,
		modules: []part{{fails: "error", policy: "{local: skip, federated: refuse}"}}, by: "first",
		answer:   `{"refusal": {"errcode": "M_FORBIDDEN", "error": "Module first could not be asked"}}`,
		failures: []string{"first error refuse"},
	},
	{
		name: "a registration may be shadow-banned", callback: "spam_checker.check_registration_for_spam", request: `{"username": "a"}`,
		modules: []part{{says: `{"shadow_ban": true}`}, no}, by: "first",
	},

	// Account validity.
	{
		name: "false is an opinion", callback: "account_validity.is_user_expired", request: `{"user": "@a:SERVER"}`,
		modules: []part{{}, {says: `{"expired": false}`}, {says: `{"expired": true}`}}, by: "second",
	},
	{
		name: "an account may be expired", callback: "account_validity.is_user_expired", request: `{"user": "@a:SERVER"}`,
		modules: []part{{}, {says: `{"expired": true}`}}, by: "second",
	},
	{
		name: "nobody knows of the account", callback: "account_validity.is_user_expired", request: `{"user": "@a:SERVER"}`,
		modules: []part{{}, {}},
	},
	{
		name: "a module that was not told of a registration fails it", callback: "account_validity.on_user_registration", request: `{"user": "@a:SERVER"}`,
		modules: []part{{fails: "error"}, {}}, failed: "first error",
	},
	{
		name: "a module that was not told of a profile is passed over", callback: "third_party_rules.on_profile_update", request: notified["third_party_rules.on_profile_update"],
		modules: []part{{fails: "error"}, {fails: "absent"}, {}}, failures: []string{"first error skip", "second absent skip"},
	},

	// Third party rules.
	{
		name: "sequential modules are not asked behind a decision", callback: "third_party_rules.check_event_allowed", request: `{"event": ` + message1 + `, "state_events": []}`,
		modules: []part{{}, no, {unasked: true}}, by: "second",
	},
	{
		name: "a replacement decides", callback: "third_party_rules.check_event_allowed", request: `{"event": ` + message1 + `, "state_events": []}`,
		modules: []part{{says: `{"replacement": {"type": "m.room.message", "content": {"body": "milder"}}}`}, {unasked: true}}, by: "first",
	},
	{
		name: "sequential modules are not asked behind a failure that fails the ask", callback: "third_party_rules.check_event_allowed", request: `{"event": ` + message1 + `, "state_events": []}`,
		modules: []part{{fails: "error"}, {says: no.says, unasked: true}}, failed: "first error",
	},
	{
		name: "each module gets what the one before it made of the room", callback: "third_party_rules.on_create_room",
		request: `{"requester": ` + requester + `, "request_content": {"name": "one"}, "is_requester_admin": true}`,
		modules: []part{
			{says: `{"request_content": {"name": "two"}}`},
			{hears: `{"requester": ` + requester + `, "request_content": {"name": "two"}, "is_requester_admin": true}`},
			{hears: `{"requester": ` + requester + `, "request_content": {"name": "two"}, "is_requester_admin": true}`, says: `{"request_content": {"name": "three"}}`},
		},
		answer: `{"request_content": {"name": "three"}}`,
	},
	{
		name: "a refusal ends the making of a room", callback: "third_party_rules.on_create_room",
		request: `{"requester": ` + requester + `, "request_content": {"name": "one"}, "is_requester_admin": true}`,
		modules: []part{{}, {says: `{"refusal": {"errcode": "M_FORBIDDEN", "error": "No", "http_status": 418}}`}, {unasked: true}}, by: "second",
	},
	{
		name: "a failure refuses the room in Synapse's words", callback: "third_party_rules.on_create_room",
		request: `{"requester": ` + requester + `, "request_content": {}, "is_requester_admin": false}`,
		modules: []part{{fails: "error"}, {unasked: true}}, by: "first", failures: []string{"first error refuse"},
		answer: `{"refusal": {"errcode": "M_UNKNOWN", "error": "Room creation forbidden with these parameters", "http_status": 403}}`,
	},

	// Presence.
	{
		name: "who gets states is united", callback: "presence_router.get_users_for_states", request: `{"state_updates": [` + online + `]}`,
		modules: []part{
			{says: `{"users": {"@b:SERVER": {"states": [` + online + `]}}}`},
			{},
			{says: `{"users": {"@b:SERVER": {"states": [` + online + `]}, "@c:elsewhere.example": {"states": [` + online + `]}}}`},
		},
		answer: `{"users": {"@b:SERVER": {"states": [` + online + `]}, "@c:elsewhere.example": {"states": [` + online + `]}}}`,
	},
	{
		name: "interested users are united", callback: "presence_router.get_interested_users", request: `{"user_id": "@a:SERVER"}`,
		modules: []part{{says: `{"users": ["@b:x", "@c:x"]}`}, {fails: "error"}, {says: `{"users": ["@c:x", "@d:x"]}`}},
		answer:  `{"users": ["@b:x", "@c:x", "@d:x"]}`, failures: []string{"second error skip"},
	},
	{
		name: "all users ends the walk", callback: "presence_router.get_interested_users", request: `{"user_id": "@a:SERVER"}`,
		modules: []part{{says: `{"users": ["@b:x"]}`}, {says: `{"all_users": true}`}, {says: `{"users": ["@d:x"]}`}}, by: "second",
	},
	{
		name: "one module alone decides on presence", callback: "presence_router.get_interested_users", request: `{"user_id": "@a:SERVER"}`,
		modules: []part{{}, {says: `{"users": ["@b:x"]}`}}, by: "second",
	},

	// Unsigned fields.
	{
		name: "of two modules that add a field the later has it", callback: "add_extra_fields_to_unsigned_client_event.add_field_to_unsigned_callback",
		request: `{"events": [` + message1 + `]}`,
		modules: []part{
			{says: `{"unsigned": {"$1": {"fields": {"a": 1, "b": "x"}}}}`},
			{says: `{"unsigned": {"$1": {"fields": {"b": null, "c": [true]}}}}`},
		},
		answer: `{"unsigned": {"$1": {"fields": {"a": 1, "b": null, "c": [true]}}}}`,
	},

	// Background updates.
	{
		name: "only the first module that paces updates is asked", callback: "background_update_controller.on_update",
		request: `{"update_name": "u", "database_name": "master", "one_shot": false}`,
		modules: []part{{says: `{"target_duration_ms": "100", "token": "t"}`}, {says: `{"target_duration_ms": "1"}`, unasked: true}}, by: "first",
	},
	{
		name: "what the first module has no opinion on, nobody has", callback: "background_update_controller.default_batch_size",
		request: `{"update_name": "u", "database_name": "master"}`,
		modules: []part{{}, {says: `{"batch_size": "1"}`, unasked: true}},
	},
	{
		name: "a module that implements another callback of the category is the first", callback: "background_update_controller.min_batch_size",
		request: `{"update_name": "u", "database_name": "master"}`,
		modules: []part{{registers: "background_update_controller.default_batch_size"}, {says: `{"batch_size": "1"}`, unasked: true}},
	},
	{
		name: "a batch has a least size", callback: "background_update_controller.min_batch_size",
		request: `{"update_name": "u", "database_name": "master"}`,
		modules: []part{{says: `{"batch_size": "10"}`}}, by: "first",
	},
	{
		name: "the end of a batch is told to the module that paced it", callback: "background_update_controller.on_update_end",
		request: `{"module": "first", "token": "t"}`,
		modules: []part{{}, {unasked: true}},
	},

	// Media.
	{
		name: "a module configures the media repository", callback: "media_repository.get_media_config_for_user", request: `{"user_id": "@a:SERVER"}`,
		modules: []part{{}, {says: `{"media_config": {"m.upload.size": 1000}}`}, {says: `{"media_config": {"m.upload.size": 1}}`}}, by: "second",
	},
	{
		name: "no limits is an answer", callback: "media_repository.get_media_upload_limits_for_user", request: `{"user_id": "@a:SERVER"}`,
		modules: []part{{}, {says: `{"limits": {"limits": []}}`}, {says: `{"limits": {"limits": [{"max_bytes": "1", "time_period_ms": "1"}]}}`}}, by: "second",
	},
	{
		name: "a module limits a user's rate", callback: "ratelimit.get_ratelimit_override_for_user",
		request: `{"user": "@a:SERVER", "limiter_name": "rc_invites.per_user"}`,
		modules: []part{{}, {says: `{"override": {"per_second": 0.5, "burst_count": 3}}`}}, by: "second",
	},

	// Logins.
	{
		name: "modules get what they registered of a login", callback: "password_auth_provider.auth_checkers",
		request: `{"user": "alice", "login_type": "m.login.password", "login_dict": {"password": "secret", "more": 1}}`,
		modules: []part{
			{keys: map[string][]string{"org.example.other": {"more"}}, unasked: true},
			{keys: passwords, hears: `{"user": "alice", "login_type": "m.login.password", "login_dict": {"password": "secret"}}`},
			{keys: passwords, hears: `{"user": "alice", "login_type": "m.login.password", "login_dict": {"password": "secret"}}`, says: `{"user_id": "@alice:SERVER"}`},
		},
		by: "third",
	},
	{
		name: "a password is not shown behind the module that knew it", callback: "password_auth_provider.auth_checkers",
		request: `{"user": "alice", "login_type": "m.login.password", "login_dict": {"password": "secret"}}`,
		modules: []part{{keys: passwords, says: `{"user_id": "@alice:SERVER"}`}, {keys: passwords, unasked: true}}, by: "first",
	},
	{
		name: "a login by email", callback: "password_auth_provider.check_3pid_auth",
		request: `{"medium": "email", "address": "a@example.com", "password": "secret"}`,
		modules: []part{{fails: "error"}, {says: `{"user_id": "@alice:SERVER"}`}, {unasked: true}}, by: "second",
		failures: []string{"first error skip"},
	},
	{
		name: "the end of a login is told to the module that knew the password", callback: "password_auth_provider.on_auth_checkers_login",
		request: `{"module": "second", "token": "t", "response": {"user_id": "@alice:SERVER", "access_token": "syt_secret", "home_server": "SERVER", "well_known": {}}}`,
		modules: []part{{unasked: true}, {}},
	},
	{
		name: "a module names a new user", callback: "password_auth_provider.get_username_for_registration",
		request: `{"uia_results": {"m.login.dummy": true}, "params": {"username": "x"}}`,
		modules: []part{{}, {says: `{"username": "bob"}`}, {unasked: true}}, by: "second",
	},
	{
		name: "an empty display name is an answer", callback: "password_auth_provider.get_displayname_for_registration",
		request: `{"uia_results": {}, "params": {}}`,
		modules: []part{{says: `{"displayname": ""}`}, {unasked: true}}, by: "first",
	},
}

// all are the rows, and those that the maps stand for.
func all() []row {
	list := rows
	for callback, request := range notified {
		list = append(list, row{
			name: "all are told: " + callback, callback: callback, request: request, modules: []part{{}, {}},
		})
	}
	for callback, request := range verdicts {
		list = append(list,
			row{
				name: "the second refuses: " + callback, callback: callback, request: request,
				modules: []part{silentPart, noEither, no}, by: "second",
			},
			row{
				name: "nobody refuses: " + callback, callback: callback, request: request,
				modules: []part{silentPart, silentPart},
			})
	}
	return list
}
