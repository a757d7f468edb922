package asks_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/integration/testbed"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/subjects"
)

var ordinals = []string{"first", "second", "third"}

func TestCallbackHasARow(t *testing.T) {
	t.Parallel()
	has := map[string]bool{}
	for _, r := range all() {
		if _, ok := subjects.Find(r.callback); !ok {
			t.Errorf("%s: there is no callback %s", r.name, r.callback)
		}
		has[r.callback] = true
	}
	for _, d := range subjects.All() {
		if !has[d.FullName()] {
			t.Errorf("no row asks %s: add one to rows_test.go", d.FullName())
		}
	}
}

// TestAsks asks each row's question through every door, with NATS in every home.
func TestAsks(t *testing.T) {
	t.Parallel()
	natstest.Each(t, func(t *testing.T, home *natstest.Home) {
		for i, r := range all() {
			t.Run(r.name, func(t *testing.T) {
				t.Parallel()
				r.try(t, home, fmt.Sprintf("row-%d.example", i))
			})
		}
	})
}

func (r row) try(t *testing.T, home *natstest.Home, serverName string) {
	t.Helper()
	d, _ := subjects.Find(r.callback)
	r = r.at(serverName)
	h := testbed.Open(t, home, serverName, r.roster())
	heard := &testbed.Record{}
	leave := func() {}
	var interest []string
	for i, p := range r.modules {
		started, subject := p.start(t, h, d, ordinals[i], heard)
		interest = append(interest, subject...)
		if p.fails == "absent" {
			next := leave
			leave = func() { _ = started.stop(); next() }
		}
	}
	h.Settle(interest...)
	leave()
	want := r.outcome(h, d)
	for _, door := range testbed.Doors {
		testbed.Same(t, "through "+door.Name, want, door.Ask(h, d, r.request))
	}
	r.checkHeard(h, d, heard.Take())
}

// at is the row with the homeserver's name in it.
func (r row) at(serverName string) row {
	here := func(text string) string { return strings.ReplaceAll(text, "SERVER", serverName) }
	r.request, r.answer = here(r.request), here(r.answer)
	parts := r.modules
	r.modules = nil
	for _, p := range parts {
		p.says, p.hears = here(p.says), here(p.hears)
		r.modules = append(r.modules, p)
	}
	return r
}

// roster is the operator's list, in YAML.
func (r row) roster() string {
	var b strings.Builder
	for i, p := range r.modules {
		fmt.Fprintf(&b, "  - module: %s\n", ordinals[i])
		if p.policy != "" {
			fmt.Fprintf(&b, "    on_failure: %s\n", p.policy)
		}
		if p.fails == "timeout" {
			b.WriteString("    timeout: 50ms\n")
		} else {
			b.WriteString("    timeout: 30s\n")
		}
	}
	return b.String() + "budget: 50s\n"
}

// outcome is what the row expects.
func (r row) outcome(h *testbed.Homeserver, d *subjects.Declaration) testbed.Outcome {
	h.Helper()
	o := testbed.Outcome{DecidedBy: r.by, Failures: r.failures, Failed: r.failed}
	text := r.answer
	for i, p := range r.modules {
		if text == "" && ordinals[i] == r.by {
			text = p.says
		}
	}
	answer, err := message(d, text)
	if err != nil {
		h.Fatal(err)
	}
	if answer != nil {
		o.Answer = h.Plain(answer)
	}
	return o
}

func (r row) checkHeard(h *testbed.Homeserver, d *subjects.Declaration, heard map[string][]any) {
	h.Helper()
	for i, p := range r.modules {
		got := heard[ordinals[i]]
		if p.unasked {
			if len(got) > 0 {
				h.Errorf("module %s was asked %d times", ordinals[i], len(got))
			}
			continue
		}
		if want := len(testbed.Doors); d.Options.GetRule() == callbacksv1.Rule_NOTIFY && p.fails == "" && r.failed == "" && len(got) != want {
			h.Errorf("module %s was told %d times, want %d", ordinals[i], len(got), want)
		}
		text := p.hears
		if text == "" {
			text = r.request
		}
		for _, request := range got {
			testbed.Same(h.T, "what module "+ordinals[i]+" heard", h.Plain(h.Message(d, text)), request)
		}
	}
}

// start starts the module, and returns the subjects on which it is asked.
func (p part) start(t *testing.T, h *testbed.Homeserver, d *subjects.Declaration, name string, heard *testbed.Record) (running, []string) {
	t.Helper()
	registers := []*subjects.Declaration{d}
	if p.registers != "" {
		other, ok := subjects.Find(p.registers)
		if !ok {
			t.Fatalf("there is no callback %s", p.registers)
		}
		registers[0] = other
	}
	reply, err := message(d, p.says)
	if err != nil {
		t.Fatal(err)
	}
	subject := []string{subjects.For(h.Name).Callback(registers[0], name)}
	if p.raw != "" || p.fails == "malformed" {
		return raw{callbacks: registers, binary: p.raw == "protobuf", answer: p.bytes(reply)}.start(t, h.Home, h.Name, name), subject
	}
	f := fake{callbacks: registers, keys: p.keys, answer: p.script(h, name, reply, heard)}
	return f.start(t, h.Home, h.Name, name), subject
}

// script is what a part does that uses the kit.
func (p part) script(h *testbed.Homeserver, name string, reply proto.Message, heard *testbed.Record) answerer {
	return func(ctx context.Context, _ *subjects.Declaration, req proto.Message) (proto.Message, error) {
		heard.Note(name, h.Plain(req))
		switch p.fails {
		case "error":
			return nil, errors.New("scripted")
		case "panic":
			panic("scripted")
		case "timeout":
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return reply, nil
	}
}

// bytes is what a part does that has nothing but a connection.
func (p part) bytes(reply proto.Message) func(*nats.Msg) *nats.Msg {
	return func(m *nats.Msg) *nats.Msg {
		inJSON := m.Header.Get("Content-Type") == "application/json"
		if p.raw == "json" && !inJSON {
			return &nats.Msg{Header: nats.Header{"Nats-Service-Error-Code": {"error"}, "Nats-Service-Error": {"not asked in JSON"}}}
		}
		switch {
		case p.fails == "malformed":
			return &nats.Msg{Data: []byte{0xff, 0xff}}
		case p.fails != "":
			return &nats.Msg{Header: nats.Header{"Nats-Service-Error-Code": {p.fails}, "Nats-Service-Error": {"scripted"}}}
		case reply == nil:
			return &nats.Msg{}
		case inJSON:
			data, _ := wire.ToJSON(reply)
			return &nats.Msg{Data: data, Header: nats.Header{"Content-Type": {"application/json"}}}
		}
		data, _ := proto.Marshal(reply)
		return &nats.Msg{Data: data}
	}
}
