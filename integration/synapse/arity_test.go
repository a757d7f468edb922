//go:build integration

package synapse_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestSynapseCountsParameters has callbacks inside Synapse whose signatures are such as authors write. Synapse counts the
// parameters of user_may_create_room, and not those of check_login_for_spam.
//
//nolint:paralleltest // servers enough for a small machine
func TestSynapseCountsParameters(t *testing.T) {
	for _, c := range []struct {
		shapes      []string
		room, login string
		got         []string // how many arguments each got
		becauseOf   string   // in Synapse's log
	}{
		{
			shapes: []string{"room_any", "room_bound", "login_five", "login_any"}, room: "200", login: "200",
			got: []string{"login_five 5", "login_any 5", "room_any 1", "room_bound 2"},
		},
		{
			shapes: []string{"room_partial", "login_four"}, room: broken, login: broken,
			becauseOf: "object has no attribute '__qualname__'",
		},
		{shapes: []string{"room_keywords"}, room: broken, login: "200", becauseOf: "takes 2 positional arguments but 3 were given"},
		{shapes: []string{"room_keyword_only"}, room: broken, login: "200", becauseOf: "takes 2 positional arguments but 3 were given"},
	} {
		t.Run(strings.Join(c.shapes, " "), func(t *testing.T) {
			s := prepareSynapse(t)
			record := filepath.Join(s.dir, "arity")
			testbed.Write(t, record, "")
			s.configure(t, `
  - module: arity.Arity
    config: {record: "`+record+`", shapes: [`+strings.Join(c.shapes, ", ")+`]}`, "")
			s.start(t)
			alice := s.register(t, "alice", false)
			login := map[string]any{"type": "m.login.password", "identifier": map[string]any{"type": "m.id.user", "user": "alice"}, "password": "secret"}
			if got := s.nobody().do(t, "POST", "/_matrix/client/v3/login", login).String(); got != c.login {
				t.Errorf("login: %s, want %s", got, c.login)
			}
			if got := alice.do(t, "POST", "/_matrix/client/v3/createRoom", map[string]any{}).String(); got != c.room {
				t.Errorf("createRoom: %s, want %s", got, c.room)
			}
			text, err := os.ReadFile(record)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.got, strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })); len(c.got)+len(text) > 0 && diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			testbed.Eventually(t, "Synapse's log says "+c.becauseOf, func() bool { return strings.Contains(s.log.String(), c.becauseOf) })
		})
	}
}
