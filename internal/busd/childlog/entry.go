package childlog

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"github.com/rs/zerolog"
)

// entry is a line of a worker's log, as zerolog writes it.
type entry struct {
	level   zerolog.Level
	message string
	fields  []field // the others, in their order
}

type field struct {
	name  string
	value json.RawMessage
}

// parseEntry reads a JSON object that has a message and a level that zerolog knows. It reports false for any other
// line.
func parseEntry(line []byte) (entry, bool) {
	e := entry{level: zerolog.Disabled}
	if line[0] != '{' {
		return e, false
	}
	said := false
	err := eachField(line, func(f field) error {
		switch f.name {
		case "level":
			return e.setLevel(f.value)
		case "message":
			said = true
			return json.Unmarshal(f.value, &e.message)
		case "time", "module", "worker":
			return nil
		}
		e.fields = append(e.fields, f)
		return nil
	})
	return e, err == nil && said && e.level <= zerolog.PanicLevel
}

func (e *entry) setLevel(value json.RawMessage) error {
	var name string
	if err := json.Unmarshal(value, &name); err != nil {
		return err
	}
	level, ok := levels[name]
	if !ok {
		level = zerolog.Disabled
	}
	e.level = level
	return nil
}

var levels = map[string]zerolog.Level{
	"trace": zerolog.TraceLevel,
	"debug": zerolog.DebugLevel,
	"info":  zerolog.InfoLevel,
	"warn":  zerolog.WarnLevel,
	"error": zerolog.ErrorLevel,
	"fatal": zerolog.FatalLevel,
	"panic": zerolog.PanicLevel,
}

// eachField calls take with each field of a line that is one JSON object, in order.
func eachField(line []byte, take func(field) error) error {
	d := json.NewDecoder(bytes.NewReader(line))
	if _, err := d.Token(); err != nil { // "{"
		return err
	}
	for d.More() {
		f, err := nextField(d)
		if err != nil {
			return err
		}
		if err := take(f); err != nil {
			return err
		}
	}
	return end(d)
}

func nextField(d *json.Decoder) (f field, err error) {
	name, err := d.Token()
	if err != nil {
		return f, err
	}
	f.name, _ = name.(string) // the decoder takes nothing else for a name
	return f, d.Decode(&f.value)
}

func end(d *json.Decoder) error {
	if _, err := d.Token(); err != nil { // "}"
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// log writes the entry at its own level. An entry at level fatal or panic does not end this process.
func (e entry) log(log zerolog.Logger) {
	ev := log.WithLevel(e.level)
	for _, f := range e.fields {
		ev.RawJSON(f.name, f.value)
	}
	ev.Msg(e.message)
}

// complaint is the message and, if the entry has a field for it, the error.
func (e entry) complaint() string {
	for _, f := range e.fields {
		var text string
		if f.name == zerolog.ErrorFieldName && json.Unmarshal(f.value, &text) == nil {
			return strings.TrimPrefix(e.message+": "+text, ": ")
		}
	}
	return e.message
}
