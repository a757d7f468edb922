package policyserver

import (
	"fmt"
	"testing"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// What homeservers make of an answer, as their code has it: Synapse 1.163.2, Continuwuity and Tuwunel, November 2026.
const (
	passes  = "passes"
	stopped = "stopped"
	waits   = "is asked again"
)

// synapse takes a signature that verifies, and nothing else.
func synapse(a Answer, s said) string {
	if a.Status == 200 && s.Signatures[KeyID] != "" {
		return passes
	}
	return stopped
}

// continuwuity lets pass what the policy server does not know, asks again when it is told to wait, and stops the rest.
func continuwuity(a Answer, s said) string {
	switch a.Status {
	case 404:
		return passes
	case 429:
		return waits
	}
	return synapse(a, s)
}

// tuwunel stops what is refused in the one way that the specification has, and lets the rest pass.
func tuwunel(a Answer, s said) string {
	switch {
	case a.Status == 429:
		return waits
	case a.Status == 400 && s.Errcode == "M_FORBIDDEN", a.Status == 200 && s.Signatures[KeyID] == "":
		return stopped
	}
	return passes
}

func TestHomeserversTakeAnswersAlike(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answer                         Answer
		synapse, continuwuity, tuwunel string
	}{
		"signed":                         {signedAs(own, "c2ln"), passes, passes, passes},
		"refused":                        {refused("no"), stopped, stopped, stopped},
		"refused by a module":            {refusedBy(&callbacksv1.Refusal{Errcode: "ORG.EXAMPLE.SPAM", AdditionalFields: []byte(`{"status":429}`)}), stopped, stopped, stopped},
		"a room of nobody's":             {strange(), stopped, passes, passes},
		"fail, as the operator wants it": {failed(ErrFailed), stopped, stopped, passes},
		"who is not who they say":        {unauthorized(errHeader), stopped, stopped, passes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := read(t, tt.answer)
			got := fmt.Sprint(synapse(tt.answer, s), ", ", continuwuity(tt.answer, s), ", ", tuwunel(tt.answer, s))
			if want := fmt.Sprint(tt.synapse, ", ", tt.continuwuity, ", ", tt.tuwunel); got != want {
				t.Errorf("got %s; want %s", got, want)
			}
		})
	}
}
