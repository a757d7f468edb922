package asks_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/declared"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/subjects"
)

// answerer is what a fake does when it is asked. Nil is no opinion.
type answerer func(ctx context.Context, d *subjects.Declaration, req proto.Message) (proto.Message, error)

// fake is a module that registers any callbacks and answers all of them with one function.
type fake struct {
	callbacks []*subjects.Declaration
	keys      map[string][]string // of callbacks that are registered by key: what fields it gets, by key
	web       map[string]string   // what it serves, by path
	answer    answerer
}

// module is the fake as its author would write it: it goes through the kit's typed functions. Where a category is
// registered whole or not at all, the fake has no opinion on the rest of it.
func (f fake) module() modulekit.Module[json.RawMessage] {
	return modulekit.Module[json.RawMessage]{
		Version:     "1.0.0",
		ParseConfig: func(raw json.RawMessage) (json.RawMessage, error) { return raw, nil },
		New: func(_ json.RawMessage, api *modulekit.ModuleAPI) error {
			for _, c := range subjects.Categories() {
				f.register(api, c)
			}
			for path, text := range f.web {
				api.RegisterWebResource(path, saying(text))
			}
			return nil
		},
	}
}

// register calls the kit's function for the category, with a struct in which the fake's callbacks are set. The fields of
// the struct are the callbacks of the category, in their order.
func (f fake) register(api *modulekit.ModuleAPI, c *subjects.Category) {
	if !slices.ContainsFunc(c.Callbacks, func(d *subjects.Declaration) bool { return slices.Contains(f.callbacks, d) }) {
		return
	}
	register := reflect.ValueOf(api).MethodByName("Register" + testbed.Exported(c.Name) + "Callbacks")
	callbacks := reflect.New(register.Type().In(0)).Elem()
	for i, d := range c.Callbacks {
		switch {
		case slices.Contains(f.callbacks, d):
			callbacks.Field(i).Set(f.function(callbacks.Field(i).Type(), d))
		case c.AllOrNone:
			callbacks.Field(i).Set(fake{answer: silent}.function(callbacks.Field(i).Type(), d))
		}
		if declared.Of(d).State != nil && slices.Contains(f.callbacks, d) {
			api.NeedState(d, modulekit.AllState())
		}
	}
	register.Call([]reflect.Value{callbacks})
}

func silent(context.Context, *subjects.Declaration, proto.Message) (proto.Message, error) {
	return nil, nil
}

// function is a value of a field in a struct of callbacks: a function, or a list of functions by key.
func (f fake) function(t reflect.Type, d *subjects.Declaration) reflect.Value {
	if t.Kind() != reflect.Slice {
		return f.asFunc(t, d)
	}
	list := reflect.MakeSlice(t, 0, len(f.keys))
	for key, fields := range f.keys {
		one := reflect.New(t.Elem()).Elem()
		one.FieldByName("Key").SetString(key)
		one.FieldByName("Fields").Set(reflect.ValueOf(fields))
		one.FieldByName("Func").Set(f.asFunc(one.FieldByName("Func").Type(), d))
		list = reflect.Append(list, one)
	}
	return list
}

func (f fake) asFunc(t reflect.Type, d *subjects.Declaration) reflect.Value {
	return reflect.MakeFunc(t, func(args []reflect.Value) []reflect.Value {
		reply, err := f.answer(args[0].Interface().(context.Context), d, args[1].Interface().(proto.Message))
		results := []reflect.Value{reflect.Zero(t.Out(0)), reflect.Zero(t.Out(1))}
		if reply != nil {
			results[0] = reflect.ValueOf(reply)
		}
		if err != nil {
			results[1] = reflect.ValueOf(&err).Elem()
		}
		return results
	})
}

// running is a module under way.
type running struct{ stop func() error }

// start runs the fake on a connection of its own, until it is stopped or the test ends.
func (f fake) start(t *testing.T, home *natstest.Home, serverName, name string) running {
	t.Helper()
	log := zerolog.New(zerolog.NewTestWriter(t)).With().Str("module", name).Logger()
	nc := natstest.Connect(t, home)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- modulekit.Run(ctx, nc, f.module(), modulekit.Options{ServerName: serverName, Module: name, Log: &log})
	}()
	r := running{stop: sync.OnceValue(func() error { cancel(); return <-done })}
	t.Cleanup(func() {
		if err := r.stop(); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("module %s: %v", name, err)
		}
	})
	return r
}

// raw is a worker without the kit, as one in any language: it has a connection and answers bytes with bytes.
type raw struct {
	callbacks []*subjects.Declaration
	binary    bool // it joins, and wants its requests, in protobuf's binary form; default JSON
	answer    func(*nats.Msg) *nats.Msg
}

// start has the worker subscribe, and join.
func (r raw) start(t *testing.T, home *natstest.Home, serverName, name string) running {
	t.Helper()
	nc := natstest.Connect(t, home)
	server := subjects.For(serverName)
	var names []string
	for _, d := range r.callbacks {
		names = append(names, d.FullName())
		if _, err := nc.QueueSubscribe(server.Callback(d, name), subjects.Group(name), r.reply(nc)); err != nil {
			t.Fatal(err)
		}
	}
	// Requests to this very worker are a second try.
	if _, err := nc.Subscribe(server.WorkerAny(name, "raw-"+name), r.reply(nc)); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	join, err := json.Marshal(map[string]any{"worker": "raw-" + name, "version": "0.1", "callbacks": names, "json": !r.binary})
	if err != nil {
		t.Fatal(err)
	}
	m := &nats.Msg{Subject: server.Join(name), Data: join, Header: nats.Header{"Content-Type": {"application/json"}}}
	testbed.Eventually(t, "raw module "+name+" has joined", func() bool {
		reply, err := nc.RequestMsgWithContext(t.Context(), m)
		return err == nil && strings.Contains(string(reply.Data), `"listed":true`)
	})
	return running{stop: func() error { nc.Close(); return nil }}
}

func (r raw) reply(nc *nats.Conn) nats.MsgHandler {
	return func(m *nats.Msg) {
		if reply := r.answer(m); reply != nil {
			reply.Subject = m.Reply
			_ = nc.PublishMsg(reply)
		}
	}
}

// message returns a reply of the callback from its JSON; nil for no text.
func message(d *subjects.Declaration, text string) (proto.Message, error) {
	if text == "" {
		return nil, nil
	}
	m := d.NewReply()
	if err := wire.FromJSON([]byte(text), m, true); err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return m, nil
}

// saying is a page that says one thing.
func saying(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}
