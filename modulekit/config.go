package modulekit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ConfigError is the error with which ParseConfig refuses a configuration. The operator is told the module, the path
// and the reason. A configuration may hold secrets, so Reason must not repeat values.
type ConfigError struct {
	// Path is a place in the module's config, such as "deny[0]"; empty for all of it.
	Path string

	// Reason says what is wrong there, and what to do.
	Reason string
}

// Error implements error.
func (e *ConfigError) Error() string {
	if e.Path == "" {
		return "config: " + e.Reason
	}
	return fmt.Sprintf("config.%s: %s", e.Path, e.Reason)
}

// DecodeConfig reads the module's config, a JSON object, into C as encoding/json does, but refuses unknown keys. Errors
// are [*ConfigError]; they repeat no value, unless the UnmarshalJSON of a type in C does.
func DecodeConfig[C any](raw json.RawMessage) (C, error) {
	var c C
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, configError(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return c, &ConfigError{"", "something follows the JSON object"}
	}
	return c, nil
}

func configError(err error) *ConfigError {
	var mistyped *json.UnmarshalTypeError
	var config *ConfigError
	switch {
	case errors.As(err, &config):
		return config
	case errors.As(err, &mistyped):
		kind, _, _ := strings.Cut(mistyped.Value, " ") // For a number that does not fit, Value ends with the number.
		return &ConfigError{mistyped.Field, fmt.Sprintf("must be of type %s, not %s", mistyped.Type, kind)}
	}
	if key, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return &ConfigError{strings.Trim(key, `"`), "is unknown; remove it or correct its spelling"}
	}
	if strings.HasPrefix(err.Error(), "json: ") {
		return &ConfigError{"", "a value has the wrong form"} // encoding/json would repeat it.
	}
	return &ConfigError{"", err.Error()}
}
