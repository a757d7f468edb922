package webpath

import (
	"os"
	"regexp"
	"slices"
	"testing"
)

// TestBridgeReservesTheSamePaths reads the bridge's list, which is in Python.
func TestBridgeReservesTheSamePaths(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../bridges/synapse/modulebus_synapse/config.py")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?s)\nRESERVED = \((.*?)\n\)`).FindSubmatch(source)
	if list == nil {
		t.Fatal("config.py has no RESERVED")
	}
	var theirs, ours []string
	for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllSubmatch(list[1], -1) {
		theirs = append(theirs, string(m[1]))
	}
	for _, r := range reserved {
		ours = append(ours, r.path)
	}
	if !slices.Equal(ours, theirs) {
		t.Errorf("modules cannot have\n%q, and in the bridge\n%q", ours, theirs)
	}
}
