package webpath

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the file")

// bridges is where the bridge in Synapse, which is in Python, has the list from.
const bridges = "../../bridges/synapse/modulebus_synapse/reserved.json"

// TestBridgeReservesTheSamePaths holds the bridge's file to the list. With -update, as in go generate, it writes it.
func TestBridgeReservesTheSamePaths(t *testing.T) {
	t.Parallel()
	paths := make([]string, len(reserved))
	for i, r := range reserved {
		paths[i] = r.path
	}
	want, err := json.MarshalIndent(paths, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		err = os.WriteFile(bridges, want, 0o644)
	}
	if got, readErr := os.ReadFile(bridges); err != nil || readErr != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what is reserved (%v, %v): type go generate ./internal/webpath", bridges, err, readErr)
	}
}
