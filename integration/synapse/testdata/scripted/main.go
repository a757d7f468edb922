// Command scripted is a module for tests: it registers the callbacks that its configuration names, answers as a file says
// that may change at any time, and writes down what it was asked.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

type config struct {
	Script     string              `json:"script"`      // file with an entry per callback, by its name
	Record     string              `json:"record"`      // file that gets a line per call
	Register   []string            `json:"register"`    // names of callbacks
	LoginTypes map[string][]string `json:"login_types"` // and their fields
	AllState   bool                `json:"all_state"`   // goes along, and not only what names a room
}

// entry says how a callback answers.
type entry struct {
	When   string          `json:"when"`   // a text that the request must have in it; else there is no opinion
	Unless string          `json:"unless"` // and one that it must not have
	Reply  json.RawMessage `json:"reply"`  // the reply message
	Error  string          `json:"error"`  // fails with this text
	Sleep  int             `json:"sleep"`  // milliseconds before
	Read   bool            `json:"read"`   // the file that the request is about

	Content  json.RawMessage            `json:"content"`  // check_event_allowed: the event with this content
	States   []string                   `json:"states"`   // get_users_for_states: who gets all that is asked about
	Unsigned map[string]json.RawMessage `json:"unsigned"` // add_field_to_unsigned_callback: fields for each event
}

func main() { modulekit.Main(modulekit.Module[config]{New: newScripted}) }

func newScripted(c config, api *modulekit.ModuleAPI) error {
	s := &scripted{config: c, api: api}
	v := reflect.ValueOf(api)
	for i := range v.NumMethod() {
		name := v.Type().Method(i).Name
		if strings.HasPrefix(name, "Register") && strings.HasSuffix(name, "Callbacks") {
			s.register(v.Method(i))
		}
	}
	for _, name := range c.Register {
		if d, ok := subjects.Find(name); ok && declared.Of(d).State != nil {
			api.NeedState(d, s.state()...)
		}
	}
	api.RegisterWebResource("/_synapse/client/scripted", http.HandlerFunc(echo))
	api.RegisterWebResource("/_synapse/client/scripted/ticks", http.HandlerFunc(s.ticks))
	return nil
}

// state is what of a room goes along with questions.
func (s *scripted) state() []modulekit.StateFilter {
	if s.config.AllState {
		return []modulekit.StateFilter{modulekit.AllState()}
	}
	return []modulekit.StateFilter{{Type: "m.room.create"}, {Type: "m.room.name"}}
}

// ticks goes on for as long as somebody listens.
func (s *scripted) ticks(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		_, _ = io.WriteString(w, "tick\n") // It fails when nobody listens any more.
		_ = http.NewResponseController(w).Flush()
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.Context().Done():
		}
	}
	s.record(map[string]any{"callback": "ticks", "request": map[string]any{}})
}

// echo returns the body as it comes, and says what else came.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Method", r.Method)
	w.Header().Set("X-Path", r.URL.RequestURI())
	w.WriteHeader(http.StatusAccepted)
	_ = http.NewResponseController(w).Flush()
	_, _ = io.Copy(w, r.Body)
}

type scripted struct {
	config config
	api    *modulekit.ModuleAPI
	mu     sync.Mutex
}

// register fills those fields of the struct that the method takes that are to be registered.
func (s *scripted) register(method reflect.Value) {
	callbacks := reflect.New(method.Type().In(0)).Elem()
	for i := range callbacks.NumField() {
		f, typ := callbacks.Field(i), callbacks.Field(i).Type()
		switch {
		case typ.Kind() == reflect.Func && slices.Contains(s.config.Register, nameOf(typ)):
			f.Set(s.function(typ))
		case typ.Kind() == reflect.Slice:
			s.registerKeyed(f)
		}
	}
	method.Call([]reflect.Value{callbacks})
}

func (s *scripted) registerKeyed(f reflect.Value) {
	for key, fields := range s.config.LoginTypes {
		keyed := reflect.New(f.Type().Elem()).Elem()
		keyed.FieldByName("Key").SetString(key)
		keyed.FieldByName("Fields").Set(reflect.ValueOf(fields))
		keyed.FieldByName("Func").Set(s.function(keyed.FieldByName("Func").Type()))
		f.Set(reflect.Append(f, keyed))
	}
}

// nameOf is the name of the callback that functions of this type answer.
func nameOf(typ reflect.Type) string {
	request := reflect.Zero(typ.In(1)).Interface().(proto.Message)
	for _, c := range subjects.Categories() {
		for _, d := range c.Callbacks {
			if d.NewRequest().ProtoReflect().Descriptor() == request.ProtoReflect().Descriptor() {
				return d.Name
			}
		}
	}
	return ""
}

func (s *scripted) function(typ reflect.Type) reflect.Value {
	name := nameOf(typ)
	return reflect.MakeFunc(typ, func(in []reflect.Value) []reflect.Value {
		reply := reflect.New(typ.Out(0).Elem())
		err := s.answer(in[0].Interface().(context.Context), name, in[1].Interface().(proto.Message), reply.Interface().(proto.Message))
		if err != nil {
			return []reflect.Value{reflect.Zero(typ.Out(0)), reflect.ValueOf(&err).Elem()}
		}
		return []reflect.Value{reply, reflect.Zero(typ.Out(1))}
	})
}

func (s *scripted) answer(ctx context.Context, name string, req, reply proto.Message) error {
	request, err := wire.ToJSON(req)
	if err != nil {
		return err
	}
	e := s.entry(name)
	if !e.about(string(request)) {
		e = entry{}
	}
	line := map[string]any{"callback": name, "request": json.RawMessage(request)}
	if e.Read {
		if line["sha256"], err = s.read(ctx, req); err != nil {
			return err
		}
	}
	s.record(line)
	select {
	case <-time.After(time.Duration(e.Sleep) * time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	}
	if e.Error != "" {
		return errors.New(e.Error)
	}
	switch {
	case e.Content != nil || e.States != nil || e.Unsigned != nil:
		return derive(e, req, reply)
	case len(e.Reply) == 0 || string(e.Reply) == "null":
		return nil
	}
	return wire.FromJSON(e.Reply, reply, true)
}

// about reports whether the entry is about a request.
func (e entry) about(request string) bool {
	return strings.Contains(request, e.When) && (e.Unless == "" || !strings.Contains(request, e.Unless))
}

// derive sets a reply that has something of the request in it.
func derive(e entry, req, reply proto.Message) error {
	switch r := reply.(type) {
	case *callbacksv1.CheckEventAllowedResponse:
		var event map[string]json.RawMessage
		if err := json.Unmarshal(req.(*callbacksv1.CheckEventAllowedRequest).GetEvent().GetJson(), &event); err != nil {
			return err
		}
		event["content"] = e.Content
		var err error
		r.Replacement, err = json.Marshal(event)
		return err
	case *callbacksv1.GetUsersForStatesResponse:
		r.Users = map[string]*callbacksv1.UserPresenceStates{}
		for _, user := range e.States {
			r.Users[user] = &callbacksv1.UserPresenceStates{States: req.(*callbacksv1.GetUsersForStatesRequest).GetStateUpdates()}
		}
	case *callbacksv1.AddFieldToUnsignedCallbackResponse:
		r.Unsigned = map[string]*callbacksv1.UnsignedFields{}
		for _, event := range req.(*callbacksv1.AddFieldToUnsignedCallbackRequest).GetEvents() {
			fields := map[string][]byte{}
			for name, value := range e.Unsigned {
				fields[name] = value
			}
			r.Unsigned[event.GetEventId()] = &callbacksv1.UnsignedFields{Fields: fields}
		}
	}
	return nil
}

func (s *scripted) read(ctx context.Context, req proto.Message) (string, error) {
	media, ok := req.(*callbacksv1.CheckMediaFileForSpamRequest)
	if !ok {
		return "", nil
	}
	h := sha256.New()
	_, err := io.Copy(h, s.api.OpenFile(ctx, media.GetFileWrapper()))
	return hex.EncodeToString(h.Sum(nil)), err
}

func (s *scripted) entry(name string) (e entry) {
	script := map[string]entry{}
	if raw, err := os.ReadFile(s.config.Script); err == nil {
		_ = json.Unmarshal(raw, &script)
	}
	return script[name]
}

func (s *scripted) record(line map[string]any) {
	raw, err := json.Marshal(line)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.OpenFile(s.config.Record, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	_, _ = f.Write(append(raw, '\n'))
	_ = f.Close()
}
