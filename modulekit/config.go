package modulekit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/modulebus/modulebus/schemas/callbacks/v1"
)

// ConfigError is what ParseConfig returns for a configuration that is refused. The operator is told the module, the path
// and the reason. A configuration may hold secrets, so Reason must not repeat values.
type ConfigError struct {
	// Path is where in the module's config, such as "deny[0]"; empty for the whole of it.
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
// are [*ConfigError].
func DecodeConfig[C any](raw json.RawMessage) (C, error) {
	var c C
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(&c)
	if err == nil {
		_, err = d.Token()
		if errors.Is(err, io.EOF) {
			return c, nil
		}
	}
	return c, configError(err)
}

func configError(err error) *ConfigError {
	var mistyped *json.UnmarshalTypeError
	var config *ConfigError
	switch {
	case errors.As(err, &config):
		return config
	case errors.As(err, &mistyped):
		return &ConfigError{mistyped.Field, fmt.Sprintf("must be of type %s, not %s", mistyped.Type, mistyped.Value)}
	}
	if key, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return &ConfigError{strings.Trim(key, `"`), "is unknown; remove it or correct its spelling"}
	}
	return &ConfigError{"", err.Error()}
}

// Refuse returns a refusal with what the client sees: a Matrix error code, M_FORBIDDEN if empty, and a text.
func Refuse(errcode, text string) *callbacksv1.Refusal {
	return &callbacksv1.Refusal{Errcode: errcode, Error: text}
}
