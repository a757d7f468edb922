package policyserver

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

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

// patience is how long each of them waits for an answer by default.
var patience = map[string]time.Duration{"synapse": 30 * time.Second, "continuwuity": 30 * time.Second, "tuwunel": 5 * time.Second}

func TestAnswerComesBeforeAHomeserverStopsWaiting(t *testing.T) {
	t.Parallel()
	for name, most := range patience {
		if whole := verifyTime + askTime + answerTime; whole >= most {
			t.Errorf("an answer may take %v, and %s waits for %v", whole, name, most)
		}
	}
}

// TestPageSaysWhatHomeserversMakeOfAnswers holds the table of docs/policy-server.md against the rules.
func TestPageSaysWhatHomeserversMakeOfAnswers(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "policy-server.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "\n## What is answered\n")
	table, _, _ = strings.Cut(table, "\n\nSynapse's column")
	answers := map[string]Answer{
		"200": signedAs(own, "c2ln"), "400": refused("no"), "404": strange(), "401": unauthorized(errHeader), "500": failed(),
	}
	rows := regexp.MustCompile(`(?m)^\| [^|]+ \| (\d{3}) [^|]+ \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`).FindAllStringSubmatch(table, -1)
	if len(rows) != 9 {
		t.Fatalf("the table has %d rows", len(rows))
	}
	for _, row := range rows {
		a := answers[row[1]]
		for i, rule := range []func(Answer, said) string{synapse, continuwuity, tuwunel} {
			word := map[string]string{passes: "passes", stopped: "stops"}[rule(a, read(t, a))]
			if cell := strings.Trim(row[2+i], "*"); word == "" || !strings.HasPrefix(cell, word) {
				t.Errorf("%s: the page says %q, and by the rule it %q", row[0], cell, word)
			}
		}
	}
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
		"fail, as the operator wants it": {failed(), stopped, stopped, passes},
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
