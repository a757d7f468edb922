package modulekit_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/modulebus/modulebus/modulekit"
)

// newcomers is what the module works with.
type newcomers struct {
	exempt map[string]bool
	wait   time.Duration
}

// parseNewcomers turns what the operator wrote into it, or says what is wrong, and where.
func parseNewcomers(raw json.RawMessage) (newcomers, error) {
	c, err := modulekit.DecodeConfig[struct {
		Exempt []string `json:"exempt"`
		Wait   string   `json:"wait"`
	}](raw)
	if err != nil {
		return newcomers{}, err
	}
	n := newcomers{exempt: map[string]bool{}}
	for i, user := range c.Exempt {
		if !strings.HasPrefix(user, "@") || !strings.Contains(user, ":") {
			return n, &modulekit.ConfigError{Path: fmt.Sprintf("exempt[%d]", i), Reason: "must be a user ID (try @user:example.com)"}
		}
		n.exempt[user] = true
	}
	if n.wait, err = time.ParseDuration(c.Wait); err != nil {
		return n, &modulekit.ConfigError{Path: "wait", Reason: "must be a duration (try 24h)"}
	}
	return n, nil
}

// ParseConfig may turn the operator's text into whatever the module works with, and refuse it.
func ExampleConfigError() {
	for _, config := range []string{
		`{"exempt": ["@alice:example.com"], "wait": "24h"}`,
		`{"exempt": ["@alice:example.com", "bob"], "wait": "24h"}`,
		`{"wait": "a day"}`,
		`{"wiat": "24h"}`,
	} {
		_, err := parseNewcomers(json.RawMessage(config))
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// config.exempt[1]: must be a user ID (try @user:example.com)
	// config.wait: must be a duration (try 24h)
	// config.wiat: is unknown; remove it or correct its spelling
}
