package policyserver

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/busd/policyserver/policyservertest"
)

// recordedEvent is an event of remote's that Synapse 1.163.2 made, and what it made of it. A test in integration/synapse records all
// again.
type recordedEvent struct{ Version, ID, Event, Signature string }

// TestEventIsToBusdWhatItIsToSynapse has events of each kind that redactions treat in a way of its own, in each room version.
func TestEventIsToBusdWhatItIsToSynapse(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/events.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []recordedEvent
	if err := json.Unmarshal(data, &all); err != nil || len(all) < 200 {
		t.Fatalf("%d events, %v", len(all), err)
	}
	keys := checked(remote, policyservertest.New(remote).Publishes(keysFor), nil, time.Now())
	for _, r := range all {
		if _, err := open([]byte(r.Event)); err != nil {
			t.Errorf("version %s, %s: not taken for an event: %v", r.Version, r.Event, err)
		}
		e, err := parse([]byte(r.Event), r.Version)
		if err != nil {
			t.Errorf("version %s, %s: %v", r.Version, r.Event, err)
			continue
		}
		if e.id != r.ID || !e.signedBy(keys) || e.sign(policyservertest.New(own).Key) != r.Signature {
			t.Errorf("version %s, %s: is %s, and to Synapse %s; signed by %s: %v; signed as Synapse does: %v", r.Version, r.Event, e.id, r.ID,
				remote, e.signedBy(keys), e.sign(policyservertest.New(own).Key) == r.Signature)
		}
	}
}
