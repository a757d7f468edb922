//go:build integration

package synapse_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// authenticationService is as much of a Matrix Authentication Service as Synapse asks: whose token it is.
func authenticationService(t *testing.T) *httptest.Server {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer": %q, "account_management_uri": %q}`, s.URL, s.URL)
		case "/oauth2/introspect":
			_ = r.ParseForm() // Without a token, it is nobody's.
			if token := r.Form.Get("token"); token == "alices" {
				_, _ = io.WriteString(w, `{"active": true, "username": "alice", "scope": "urn:matrix:client:api:* urn:matrix:client:device:PHONE"}`)
				return
			}
			_, _ = io.WriteString(w, `{"active": false}`)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// TestSynapseAsksLessBehindAnAuthenticationService has users of a Matrix Authentication Service, and a module that registers
// every callback: what decides of logins and sessions is never asked, since Synapse sees neither.
//
//nolint:paralleltest // servers enough for a small machine
func TestSynapseAsksLessBehindAnAuthenticationService(t *testing.T) {
	st := busStage(t, fmt.Sprintf(`
enable_registration: false
enable_registration_without_verification: false
password_config: {enabled: false}
matrix_authentication_service: {enabled: true, endpoint: %q, secret: service}
`, authenticationService(t).URL))
	st.s.start(t)
	service, alice := user{s: st.s, token: "service"}, user{st.s, "@alice:" + st.s.name, "alices"}

	// Whoever logs in, registers or logs out does it there, and it tells Synapse.
	service.must(t, "POST", "/_synapse/mas/provision_user", map[string]any{"localpart": "alice", "set_displayname": "Alice"})
	service.must(t, "POST", "/_synapse/mas/upsert_device", map[string]any{"localpart": "alice", "device_id": "PHONE"})
	alice.must(t, "GET", "/_matrix/client/v3/account/whoami", nil)
	for path, body := range map[string]map[string]any{
		"login":    {"type": "m.login.password", "identifier": map[string]any{"type": "m.id.user", "user": "alice"}, "password": "secret"},
		"register": {"username": "bob", "password": "secret"},
		"logout":   {},
	} {
		if got := alice.do(t, "POST", "/_matrix/client/v3/"+path, body); got.status != http.StatusNotFound && got.status != http.StatusForbidden {
			t.Errorf("%s is answered %v", path, got)
		}
	}
	alice.createRoom(t, nil)
	service.must(t, "POST", "/_synapse/mas/delete_device", map[string]any{"localpart": "alice", "device_id": "PHONE"})
	asked := map[string]bool{}
	for _, a := range st.recorded(t) {
		asked[a.callback] = true
	}
	for _, quiet := range []string{
		"auth_checkers", "check_3pid_auth", "check_login_for_spam", "get_displayname_for_registration", "get_username_for_registration",
		"is_3pid_allowed", "is_user_expired", "on_logged_out", "on_user_login",
	} {
		if asked[quiet] {
			t.Errorf("%s is asked", quiet)
		}
	}
	for _, loud := range []string{"check_registration_for_spam", "on_user_registration", "user_may_create_room", "check_event_allowed"} {
		if !asked[loud] {
			t.Errorf("%s is not asked", loud)
		}
	}

	// A refused registration is an error that the service gets, not the user.
	st.say(t, map[string]string{"check_registration_for_spam": `{"reply": {"refusal": {}}}`})
	if got := service.do(t, "POST", "/_synapse/mas/provision_user", map[string]any{"localpart": "eve"}).String(); got != `429 M_UNKNOWN "Rate limited"` {
		t.Errorf("the service is answered %s", got)
	}
}
