package conformance_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/modulebus/modulebus/subjects"
)

// vector is one line of a .jsonl file: what was asked, what each module did, and what the homeserver got. The format is
// described beside the files. Values are Python's.
type vector struct {
	ID         string
	Synapse    string // version
	Category   string
	Callback   string
	Args       map[string]any
	Homeserver map[string]any // what the homeserver brings along, where the result depends on it
	Modules    []actor
	Called     []string // "m1" is the callback of m1, "m1/user_may_invite" another one of m1
	Seen       any      // what a called module saw where it differs from args
	After      map[string]any
	Result     act

	declaration *subjects.Declaration // nil where this project has no such callback
	request     map[string]any        // arguments as the bus gets them
}

type actor struct {
	Name      string
	Registers bool
	Outcome   *act

	// Also are other callbacks that the module registers, Unpaired that it leaves out the other one of a pair.
	Also     map[string]*act
	Unpaired bool

	// AuthCheckers are what it registers auth_checkers for. Default: the login type that is asked for, with its fields.
	AuthCheckers []loginType `json:"auth_checkers"`
}

type loginType struct {
	LoginType string `json:"login_type"`
	Fields    []string
}

// act is what a module did, or what the homeserver got.
type act struct {
	Kind  string // return, raise, mutate
	Value any

	// Of raise. Only Synapse's own errors have a code.
	Error            string
	Message          string
	Code             int
	Errcode          string
	AdditionalFields any    `json:"additional_fields"`
	At               string // "registration": the homeserver did not start
	Module           string // because of it

	// How a module changed an argument in place: Mutate beside kind return or raise, or else kind mutate with What (set,
	// append, delete), Key and Value.
	Mutate *mutation
	What   string
	Key    string

	RequestContent any `json:"request_content"` // of on_create_room
}

type mutation struct {
	Arg   string
	Set   map[string]any
	Unset []string
}

// mutates reports whether a module changed an argument in place.
func (o *act) mutates() bool { return o.Mutate != nil || o.Kind == "mutate" }

// loadVectors reads every record below a directory: <version>/<category>.jsonl, each of which may be compressed.
func loadVectors(dir string) ([]*vector, error) {
	var all []*vector
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found, err := readVectors(path)
		all = append(all, found...)
		return err
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s has no .jsonl files", dir)
	}
	return all, err
}

func readVectors(path string) ([]*vector, error) {
	plain, compressed := strings.CutSuffix(path, ".gz")
	if !strings.HasSuffix(plain, ".jsonl") {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var lines io.Reader = bytes.NewReader(raw)
	if compressed {
		if lines, err = gzip.NewReader(lines); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	all, err := parseVectors(lines)
	if err != nil {
		return nil, fmt.Errorf("%s, after %d records: %w", path, len(all), err)
	}
	return all, nil
}

func parseVectors(lines io.Reader) (all []*vector, err error) {
	d := json.NewDecoder(lines)
	d.UseNumber()
	for {
		r := &vector{}
		if err := d.Decode(r); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return all, err
		}
		r.declaration, _ = subjects.Find(r.Callback)
		r.request = r.arguments()
		all = append(all, r)
	}
}

// arguments are args, but for a login with all that the client submitted: the homeserver does not know who needs what.
func (r *vector) arguments() map[string]any {
	submission, ok := r.Homeserver["login_submission"].(map[string]any)
	if !ok {
		return r.Args
	}
	login := map[string]any{}
	for name, value := range submission {
		if name != "type" && name != "identifier" {
			login[name] = value
		}
	}
	return overlaid(r.Args, map[string]any{"login_dict": login})
}

// cue is one callback of one module.
type cue struct{ actor, callback string }

// steps are what was called, in order. What a context manager of on_update does on entry is part of its answer here, and
// what it does on exit is another callback; what the homeserver does in between is nobody's.
func (r *vector) steps() (steps []cue) {
	for _, called := range r.Called {
		switch name, callback, found := strings.Cut(called, "/"); {
		case !found && r.actor(name) != nil:
			steps = append(steps, cue{name, r.Callback})
		case callback == "exit":
			steps = append(steps, cue{name, r.declaration.FollowedBy().Name})
		case found && callback != "enter":
			steps = append(steps, cue{name, callback})
		}
	}
	return steps
}

// last is the last module that was called; empty for none.
func (r *vector) last() string {
	steps := r.steps()
	if len(steps) == 0 {
		return ""
	}
	return steps[len(steps)-1].actor
}

func (r *vector) actor(name string) *actor {
	i := slices.IndexFunc(r.Modules, func(m actor) bool { return m.Name == name })
	if i < 0 {
		return nil
	}
	return &r.Modules[i]
}

// outcomeOf is what a module does when it is asked a callback; nil where the record does not say.
func (r *vector) outcomeOf(s cue) *act {
	m := r.actor(s.actor)
	switch {
	case m == nil:
		return nil
	case s.callback == r.Callback && m.Registers:
		return m.Outcome
	}
	return m.Also[s.callback]
}

// registers are the declarations of what a module registers: beside what the record says, the second half of a pair,
// and what follows up on either.
func (r *vector) registers(m *actor) (all []*subjects.Declaration) {
	add := func(d *subjects.Declaration) {
		if d != nil && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	for _, d := range subjects.All() {
		_, also := m.Also[d.Name]
		if !also && (d != r.declaration || !m.Registers) {
			continue
		}
		add(d)
		add(d.FollowedBy())
		if d.Category.AllOrNone && !m.Unpaired {
			for _, other := range d.Category.Callbacks {
				add(other)
			}
		}
	}
	return all
}

// logins are what a module registers auth_checkers for.
func (r *vector) logins(m *actor) []loginType {
	if len(m.AuthCheckers) > 0 {
		return m.AuthCheckers
	}
	name, _ := r.Args["login_type"].(string)
	login := loginType{LoginType: name}
	for field := range object(r.Args["login_dict"]) {
		login.Fields = append(login.Fields, field)
	}
	return []loginType{login}
}

// loginFields are those that Synapse asks of clients for the login type of the record: the ones that the last module
// registered, whatever the ones before it did.
func (r *vector) loginFields() (fields []string, known bool) {
	for i := range r.Modules {
		if !r.Modules[i].Registers {
			continue
		}
		for _, login := range r.logins(&r.Modules[i]) {
			if login.LoginType == r.Args["login_type"] {
				fields, known = login.Fields, true
			}
		}
	}
	return fields, known
}

// saw is which arguments a module was called with; nil where the record does not say.
func (r *vector) saw(s cue) map[string]any {
	name, args := s.actor, r.Args
	if s.callback != r.Callback {
		name, args = s.actor+"/"+s.callback, nil
	}
	seen := object(object(r.Seen)[name])
	switch {
	case seen == nil:
		return args
	case r.Callback == "on_create_room" && seen["request_content"] == nil: // It is the content alone.
		seen = map[string]any{"request_content": seen}
	}
	return overlaid(args, seen)
}

// overlaid is a copy of the object with other values for some names.
func overlaid(object, over map[string]any) map[string]any {
	all := map[string]any{}
	maps.Copy(all, object)
	maps.Copy(all, over)
	return all
}
