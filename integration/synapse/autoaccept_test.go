//go:build integration

package synapse_test

import (
	"strings"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// TestSynapseAsksFiveTimesAboutAnInviteThatItAccepts has Synapse accept invites by itself, and a module that refuses those
// joins: it is asked again, though the user does nothing, and the user is in no room.
//
//nolint:paralleltest // servers enough for a small machine
func TestSynapseAsksFiveTimesAboutAnInviteThatItAccepts(t *testing.T) {
	st := busStage(t, "auto_accept_invites: {enabled: true}")
	st.s.start(t)
	alice, bob := st.newUser(t), st.newUser(t)
	st.say(t, map[string]string{"user_may_join_room": `{"when": "` + bob.id + `", "reply": {"refusal": {}}}`})
	id := alice.createRoom(t, map[string]any{"invite": []string{bob.id}})

	const times = 5
	asked := func() int { return len(st.calls(t, "user_may_join_room", bob.id)) }
	testbed.Eventually(t, "modules are asked five times", func() bool { return asked() >= times })
	for _, c := range st.calls(t, "user_may_join_room", bob.id) {
		if !strings.Contains(string(c.Request), `"is_invited":true`) || !strings.Contains(string(c.Request), id) {
			t.Errorf("asked about %s", c.Request)
		}
	}
	st.say(t, nil)
	bob.must(t, "POST", room(id, "join"), map[string]any{}) // The invite still stands, and a sixth question is this one's.
	if n := asked(); n != times+1 {
		t.Errorf("%d questions, want five and that of the user who joins", n)
	}
}
