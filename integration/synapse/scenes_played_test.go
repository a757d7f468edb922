//go:build integration

package synapse_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/subjects"
)

// authenticated says who logged in, and whether the module heard of it.
func (st *stage) authenticated(t *testing.T, r reply) string {
	t.Helper()
	if r.status != 200 {
		return r.String()
	}
	got := "200 " + strings.ReplaceAll(r.str("user_id"), st.alice.id, "alice")
	if len(st.calls(t, "on_auth_checkers_login", r.str("access_token"))) > 0 {
		got += ", heard of the login"
	}
	return got
}

func (st *stage) login(t *testing.T, u user) reply {
	t.Helper()
	return st.s.nobody().do(t, "POST", "/_matrix/client/v3/login", map[string]any{
		"type": "m.login.password", "password": "secret", "identifier": map[string]any{"type": "m.id.user", "user": u.id},
	})
}

// signUp registers a user as a client does.
func (st *stage) signUp(t *testing.T, name string) reply {
	t.Helper()
	return st.s.nobody().do(t, "POST", "/_matrix/client/v3/register", map[string]any{
		"username": name, "password": "secret", "auth": map[string]any{"type": "m.login.dummy"},
	})
}

func (st *stage) search(t *testing.T, u user) string {
	t.Helper()
	term := strings.TrimPrefix(strings.Split(u.id, ":")[0], "@")
	r := st.alice.do(t, "POST", "/_matrix/client/v3/user_directory/search", map[string]any{"search_term": term})
	switch {
	case r.status != 200:
		return r.String()
	case strings.Contains(string(r.raw), `"`+u.id+`"`):
		return "found"
	}
	return "not found"
}

// TestSynapseCallbacks has a client of a real Synapse do what makes it call a callback, and a module answer in each way it
// can: once over the bus, and once inside Synapse's process. What the client sees must be the same.
//
//nolint:paralleltest // Its scenes play on one stage, and some of them measure time.
func TestSynapseCallbacks(t *testing.T) {
	every := slices.Concat(scenes, moreScenes, lastScenes)
	covered(t, every)
	more := emailConfig(t)
	stages := map[string]*stage{"bus": busStage(t, more), "python": pythonStage(t, more)}
	p := startPeer(t)
	for _, name := range sorted(stages) {
		stages[name].s.start(t)
		stages[name].populate(t)
		stages[name].peer = p
	}
	for _, s := range every {
		for _, a := range s.answers {
			t.Run(s.callback+"/"+a.name, func(t *testing.T) {
				got := map[string]string{}
				started := time.Now()
				reason := onPurpose[s.callback+"/"+a.name]
				for _, name := range sorted(stages) {
					st := stages[name]
					if name == "python" && reason != "" {
						continue
					}
					got[name] = s.act(t, st, func(when string) { st.play(t, s, when, a) })
					got[name] = strings.ReplaceAll(got[name], st.s.name, "SERVER")
					st.say(t, nil)
					if a.want != "" && got[name] != a.want {
						t.Errorf("%s: the client saw\n\t%s\nwant\n\t%s", name, got[name], a.want)
					}
				}
				verdict := "same"
				if reason != "" {
					verdict = "bus only: " + reason
				} else if got["bus"] != got["python"] {
					verdict = "DIFFERENT"
					t.Errorf("over the bus the client saw\n\t%s\nand without it\n\t%s", got["bus"], got["python"])
				}
				row(s.callback, a.name, verdict, got["bus"], time.Since(started))
			})
		}
	}
}

// covered fails unless there is a scene for each callback.
func covered(t *testing.T, every []scene) {
	t.Helper()
	all := 0
	for _, c := range subjects.Categories() {
		for _, d := range c.Callbacks {
			if d.FollowUp() || !inSynapse(d) {
				continue
			}
			all++
			if !slices.ContainsFunc(every, func(s scene) bool { return s.callback == d.Name }) {
				t.Errorf("nothing here has a client of Synapse make it call %s", d.FullName())
			}
		}
	}
	fmt.Printf("%d callbacks; on the left the module's answer, on the right what the client sees\n", all)
}

// play sets the answer to requests that have the text in them. In the entries, ALICE and BOB stand for user IDs, and WHEN
// for the text.
func (st *stage) play(t *testing.T, s scene, when string, a answer) {
	t.Helper()
	entry := a.entry
	if when != "" {
		entry = strings.Replace(strings.Replace(entry, "{", `{"when": "WHEN",`, 1), `,}`, `}`, 1)
	}
	name, _, _ := strings.Cut(s.callback, ",")
	script := map[string]string{name: entry}
	maps.Copy(script, s.also)
	for name, entry := range script {
		script[name] = strings.NewReplacer("ALICE", st.alice.id, "BOB", st.bob.id, "WHEN", when).Replace(entry)
	}
	st.say(t, script)
}

// row prints a row of the table that the suite makes.
func row(callback, answer, verdict, outcome string, took time.Duration) {
	fmt.Printf("| %-39s | %-26s | %-4s | %5d ms | %s\n", callback, answer, verdict, took.Milliseconds(), outcome)
}
