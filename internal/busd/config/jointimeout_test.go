package config

import (
	"strings"
	"testing"
	"time"
)

func TestJoinTimeoutIsOfWhatBusdRuns(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"": 0, "join_timeout: 10m": 0, "join_timeout: 90s": 90 * time.Second, "join_timeout: off": Never} {
		c, err := Parse("busd.yaml", []byte("server_name: a\nmodules:\n  - module: b\n    run: [b]\n    "+text+"\n"))
		if err != nil || c.Modules[0].JoinTimeout != want {
			t.Errorf("%q: %v, %v", text, c, err)
		}
	}
	_, err := Parse("busd.yaml", []byte("server_name: a\nmodules:\n  - module: b\n    join_timeout: 1m\n"))
	if err == nil || !strings.Contains(err.Error(), "modules[0].join_timeout: is for what busd runs itself (add run, or remove join_timeout)") {
		t.Error(err)
	}
}
