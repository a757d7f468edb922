package modulekit_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/modulekit/modulekittest"
)

// gateConfig is a config with a value of each kind.
type gateConfig struct {
	Deny   []string `json:"deny"`
	Limits struct {
		Rate int8 `json:"rate"`
	} `json:"limits"`
	Texts  map[string]string `json:"texts"`
	PIN    int               `json:"pin,string"`
	Scheme scheme            `json:"scheme"`
}

// scheme is a type that judges itself.
type scheme string

func (s *scheme) UnmarshalJSON(raw []byte) error {
	if string(raw) != `"https"` {
		return &modulekit.ConfigError{Path: "scheme", Reason: "must be https"}
	}
	*s = "https"
	return nil
}

func TestDecodeConfig(t *testing.T) {
	t.Parallel()
	got, err := modulekit.DecodeConfig[gateConfig](json.RawMessage(` {"deny": ["@evil:x"], "limits": {"rate": 3}, "scheme": "https", "pin": "7"} `))
	want := gateConfig{Deny: []string{"@evil:x"}, Scheme: "https", PIN: 7}
	want.Limits.Rate = 3
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestDecodeConfigSaysWhatIsWrongAndWhere(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ config, path, reason string }{
		"an unknown key":             {`{"deyn": []}`, "deyn", "is unknown; remove it or correct its spelling"},
		"an unknown key further in":  {`{"limits": {"rat": 1}}`, "rat", "is unknown; remove it or correct its spelling"},
		"a wrong type":               {`{"deny": "@evil:x"}`, "deny", "must be of type []string, not string"},
		"a wrong type further in":    {`{"limits": {"rate": "fast"}}`, "limits.rate", "must be of type int8, not string"},
		"a wrong type in a list":     {`{"deny": ["@a:x", 7]}`, "deny", "must be of type string, not number"},
		"a number that does not fit": {`{"limits": {"rate": 531747}}`, "limits.rate", "must be of type int8, not number"},
		"a fraction":                 {`{"limits": {"rate": 0.531747}}`, "limits.rate", "must be of type int8, not number"},
		"no object":                  {`[]`, "", "must be of type modulekit_test.gateConfig, not array"},
		"text that is no number":     {`{"pin": "secret"}`, "", "a value has the wrong form"},
		"a type's own judgement":     {`{"scheme": "http"}`, "scheme", "must be https"},
		"half of it":                 {`{"deny": [`, "", "unexpected EOF"},
		"nothing":                    {``, "", "EOF"},
		"no JSON":                    {`{deny: []}`, "", "invalid character 'd' looking for beginning of object key string"},
		"another object":             {`{} {}`, "", "something follows the JSON object"},
		"something that is no JSON":  {`{} true!`, "", "something follows the JSON object"},
		"a brace too many":           {`{}}`, "", "something follows the JSON object"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := modulekit.DecodeConfig[gateConfig](json.RawMessage(tt.config))
			var refused *modulekit.ConfigError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v", err)
			}
			want := &modulekit.ConfigError{Path: tt.path, Reason: tt.reason}
			if refused.Path != want.Path || refused.Reason != want.Reason {
				t.Errorf("got %q, want %q", refused, want)
			}
		})
	}
}

func TestDecodeConfigNeverRepeatsAValue(t *testing.T) {
	t.Parallel()
	const secret = "531747"
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SampledFrom([]string{"deny", "limits", "texts", "pin", "scheme", "limits\":{\"rate"}).Draw(t, "key")
		value := fmt.Sprintf(rapid.SampledFrom([]string{
			`%s`, `-%s`, `%s.5`, `%se99`, `"%s"`, `"\u0000%s"`, `["%s"]`, `[%s]`, `[[%s]]`, `{"rate":%s}`, `{"rate":"%s"}`,
		}).Draw(t, "value"), secret)
		config := fmt.Sprintf(`{"%s":%s%s`, key, value, rapid.SampledFrom([]string{"}", "}}", "}} {", ""}).Draw(t, "end"))
		if _, err := modulekit.DecodeConfig[gateConfig](json.RawMessage(config)); err != nil && strings.Contains(err.Error(), secret) {
			t.Fatalf("%s: %v", config, err)
		}
	})
}

func TestConfigErrorsReadAsSentences(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]*modulekit.ConfigError{
		"config.deny[0]: must be a user ID": {Path: "deny[0]", Reason: "must be a user ID"},
		"config: is empty":                  {Reason: "is empty"},
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

// parsing is a module that does nothing but parse its config.
func parsing[C any](parse func(json.RawMessage) (C, error)) modulekit.Module[C] {
	return modulekit.Module[C]{ParseConfig: parse, New: func(C, *modulekit.ModuleAPI) error { return nil }}
}

func TestConfigIsRefusedWithAConfigErrorWhateverRefusesIt(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		parse func(json.RawMessage) (int, error)
		want  *modulekit.ConfigError
	}{
		"a config error": {func(json.RawMessage) (int, error) { return 0, &modulekit.ConfigError{Path: "a.b", Reason: "is odd"} }, &modulekit.ConfigError{Path: "a.b", Reason: "is odd"}},
		"a wrapped one": {func(json.RawMessage) (int, error) {
			return 0, fmt.Errorf("oh: %w", &modulekit.ConfigError{Path: "a", Reason: "is odd"})
		}, &modulekit.ConfigError{Path: "a", Reason: "is odd"}},
		"any other error":     {func(json.RawMessage) (int, error) { return 0, errors.New("is odd") }, &modulekit.ConfigError{Reason: "is odd"}},
		"a panic":             {func(json.RawMessage) (int, error) { panic("531747") }, &modulekit.ConfigError{Reason: "ParseConfig panicked; see the log"}},
		"what is not decoded": {nil, &modulekit.ConfigError{Reason: "must be of type int, not object"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := modulekittest.TryStart(t, parsing(tt.parse), `{}`)
			var refused *modulekit.ConfigError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v", err)
			}
			if diff := cmp.Diff(tt.want, refused); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseConfigMayMakeAnythingOfTheConfig(t *testing.T) {
	t.Parallel()
	var got map[string]bool
	m := modulekit.Module[map[string]bool]{
		ParseConfig: func(raw json.RawMessage) (map[string]bool, error) {
			users, err := modulekit.DecodeConfig[struct{ Deny []string }](raw)
			denied := map[string]bool{}
			for _, user := range users.Deny {
				denied[user] = true
			}
			return denied, err
		},
		New: func(denied map[string]bool, _ *modulekit.ModuleAPI) error { got = denied; return nil },
	}
	modulekittest.Start(t, m, `{"deny": ["@a:x", "@b:x"]}`)
	if diff := cmp.Diff(map[string]bool{"@a:x": true, "@b:x": true}, got); diff != "" {
		t.Error(diff)
	}
}

func TestConfigThatIsMissingIsAnEmptyObject(t *testing.T) {
	t.Parallel()
	var got string
	modulekittest.Start(t, parsing(func(raw json.RawMessage) (int, error) { got = string(raw); return 0, nil }), "")
	if got != "{}" {
		t.Errorf("got %q", got)
	}
}
