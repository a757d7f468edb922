package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// wrong returns configurations that a module may refuse: one with an unknown key, and, for each key of its
// configuration, one in which that key has a value of another type.
func (s *stage) wrong() (all []json.RawMessage) {
	var good map[string]json.RawMessage
	if json.Unmarshal(s.Config, &good) != nil {
		good = map[string]json.RawMessage{}
	}
	for _, key := range append([]string{"key_of_nobody"}, slices.Sorted(maps.Keys(good))...) {
		bad := maps.Clone(good)
		if bad == nil {
			bad = map[string]json.RawMessage{}
		}
		bad[key] = json.RawMessage(`{"` + secret + `": ["` + secret + `"]}`)
		text, err := json.Marshal(bad)
		if err == nil {
			all = append(all, text)
		}
	}
	return all
}

func refusesConfig(ctx context.Context, s *stage) error {
	if s.gaveUp != "" {
		return skip(s.gaveUp)
	}
	s.noteEnd()
	if s.process.stop(); !s.process.over() {
		return skip("it does not end")
	}
	for _, bad := range s.wrong() {
		refused, err := s.judged(ctx, bad)
		if refused && err == nil {
			s.refused = bad
		}
		if refused || err != nil {
			return err
		}
	}
	return skip("it takes any configuration that was tried; give one of which it wants something with --module-config")
}

// judged starts the module with a configuration, and reports whether it refuses it. The error says what is wrong with
// the way in which it does.
func (s *stage) judged(ctx context.Context, config json.RawMessage) (refused bool, err error) {
	s.busd.configure(config)
	count := s.busd.count()
	if err := s.start(); err != nil {
		return true, err
	}
	defer s.process.end()
	if err := s.awaitJoin(ctx, count); err != nil {
		return true, fmt.Errorf("with %s for its configuration it did not join to say why it refuses it: %w",
			strings.ReplaceAll(string(config), secret, "…"), err)
	}
	wrong := s.busd.last().GetConfigError()
	if wrong == nil {
		return false, nil
	}
	if strings.Contains(wrong.GetError()+wrong.GetPath(), secret) {
		return true, errors.New("what it says of its configuration repeats a value, which may be secret")
	}
	return true, s.endedRefused(ctx)
}

// endedRefused returns an error unless the process ends by itself, with the status of a module that refuses its
// configuration.
func (s *stage) endedRefused(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTime)
	defer cancel()
	select {
	case <-s.process.done:
	case <-ctx.Done():
		return errors.New("it refuses its configuration, and does not end")
	}
	if !s.process.refused() {
		return errors.New("it refuses its configuration; busd starts it again and again, because " + s.process.how())
	}
	return nil
}

// refusesChange gives a module that runs what it has refused at its start.
func refusesChange(ctx context.Context, s *stage) error {
	if s.refused == nil {
		return skip("no configuration is known that it refuses")
	}
	s.busd.configure(s.Config)
	count := s.busd.count()
	if err := s.start(); err != nil {
		return err
	}
	defer func() { s.process.end() }() // Of the process that is there then.
	if err := s.awaitJoin(ctx, count); err != nil {
		return err
	}
	want, running := s.busd.configure(s.refused), s.process
	err := s.after(ctx, "its configuration changed to one that it refuses when it starts, and its joins do not say so",
		func(j joined) bool { return j.GetConfigError() != nil || j.GetConfigRevision() == want })
	switch {
	case err != nil:
		return err
	case s.busd.last().GetConfigError() == nil:
		return errors.New("it says that it runs with a configuration that it refuses when it starts: it has taken over the revision alone")
	case s.process == running:
		return s.alive(ctx)
	}
	return nil // It has made room for another one, which refuses it.
}
