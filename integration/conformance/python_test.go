//go:build integration

package conformance_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

// TestConformanceOfPython replays the records with workers in Python: for each question to one of a record's modules, a worker
// of the kit is asked the same on its own subject, and what it says is the module's answer. Once its module is written with the
// kit, and returns what the modules of TestConformance say on the wire; once it was written for Synapse, and returns the values
// that the record has. What it was called with is written as a request again, and has to be what was asked.
func TestConformanceOfPython(t *testing.T) {
	t.Parallel()
	all := vectorsIn(t, directory())
	if os.Getenv("MODULEBUS_MOVED") == "" {
		all = sample(all, 4) // make moved plays the others.
	}
	for _, kind := range []string{"kit", "synapse"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			home, tally := natstest.TCP(t), newTally()
			s := newStage(t, home, actorNames(all))
			s.others = startPython(t, home, kind).reply
			if kind == "synapse" {
				s.classes = pythonClasses
			}
			for _, r := range all {
				if kind == "kit" || r.Synapse != "1.42.0" { // Modules are given the classes of a newer one, which read values otherwise.
					tally.add(s.perform(t, r))
				}
			}
			tally.check(t)
			tally.print(t.Output())
		})
	}
}

// pythonActors are all modules of a stage, played by one worker.
type pythonActors struct {
	server subjects.Server
	nc     *nats.Conn
}

const pythonModule = "python"

// startPython answers what busd does, until the worker has joined.
func startPython(t *testing.T, home *natstest.Home, kind string) *pythonActors {
	t.Helper()
	p := &pythonActors{subjects.For(ownServer), natstest.Connect(t, home)}
	joined := make(chan struct{}, 1)
	for subject, reply := range map[string]string{
		p.server.Entry(pythonModule): `{"listed": true, "config": {}, "config_revision": "1"}`,
		p.server.Join(pythonModule):  `{}`,
		p.server.Leave(pythonModule): `{}`,
	} {
		_, err := p.nc.Subscribe(subject, func(m *nats.Msg) {
			_ = m.Respond([]byte(reply))
			if subject == p.server.Join(pythonModule) {
				select {
				case joined <- struct{}{}:
				default:
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := filepath.Abs(testbed.Root)
	if err != nil {
		t.Fatal(err)
	}
	worker := testbed.Execute(t, testbed.Python(t), filepath.Join(root, "integration/conformance/python/actors.py"), kind,
		"--nats", home.URL(), "--server-name", ownServer, "--module", pythonModule, "--log-level", "error").
		With("PYTHONPATH=" + strings.Join([]string{root + "/bridges/python", root + "/bridges/synapse"}, ":")).Start()
	select {
	case <-joined:
	case <-testbed.Bounded(t).Done():
		t.Fatalf("no worker joined:\n%s", worker.Stderr)
	}
	return p
}

// reply is what the worker says in place of a record's module; the question becomes what it was called with.
func (p *pythonActors) reply(r *vector, c *question, d *subjects.Declaration) (fakeReply, error) {
	outcome := r.outcomeOf(c.cue)
	if outcome == nil && !d.FollowUp() {
		return fakeReply{}, nil
	}
	if _, err := p.nc.Request("actors.cue", cueOf(r, c, d, outcome), testbed.Patience); err != nil {
		return fakeReply{}, err
	}
	raw, err := wire.Encode(c.request, wire.JSON)
	if err != nil {
		return fakeReply{}, err
	}
	asked := &nats.Msg{Subject: p.server.Callback(d, pythonModule), Data: raw, Header: wire.JSON.Header()}
	got, err := p.nc.RequestMsg(asked, testbed.Patience)
	if err != nil {
		return fakeReply{}, err
	}
	if f := wire.FailureOf(got); f != nil {
		return fakeReply{failure: f}, p.saw(c, d)
	}
	answer := d.NewReply()
	if err := wire.DecodeStrict(got.Data, wire.JSON, answer); err != nil {
		return fakeReply{}, err
	}
	if to := declared.Of(d).FromWorker; to != nil {
		answer.ProtoReflect().Clear(to) // A record's modules have one worker, without a name.
	}
	return fakeReply{answer: answer}, p.saw(c, d)
}

// cueOf says to the worker what the module does.
func cueOf(r *vector, c *question, d *subjects.Declaration, outcome *act) []byte {
	if outcome == nil {
		return []byte(`{"kind": "return", "value": null, "answer": null, "unsayable": false}`)
	}
	said := r.replyOf(c.cue, d, c.request)
	cue := map[string]any{
		"kind": outcome.Kind, "value": outcome.Value, "error": outcome.Error, "message": outcome.Message, "code": outcome.Code,
		"errcode": outcome.Errcode, "additional_fields": outcome.AdditionalFields, "what": outcome.What, "key": outcome.Key,
		"answer": nil, "unsayable": said.noReply,
	}
	if said.answer != nil {
		raw, _ := wire.ToJSON(said.answer) // What the other modules say.
		cue["answer"] = json.RawMessage(raw)
	}
	if m := outcome.Mutate; m != nil {
		cue["mutate"] = map[string]any{"arg": m.Arg, "set": m.Set, "unset": m.Unset}
	}
	return encoded(cue)
}

// saw makes the question what the module was called with.
func (p *pythonActors) saw(c *question, d *subjects.Declaration) error {
	if d.FollowUp() {
		return nil
	}
	got, err := p.nc.Request("actors.saw", nil, testbed.Patience)
	if err != nil {
		return err
	}
	saw := d.NewRequest()
	if err := wire.FromJSON(got.Data, saw, true); err != nil {
		return fmt.Errorf("it was called with %s: %w", got.Data, err)
	}
	c.request = saw
	return nil
}
