package responder_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/responder"
	"github.com/modulebus/modulebus/internal/waittest"
)

const patience = 30 * time.Second

// spell reports a trouble as text.
func spell(t responder.Trouble) responder.Answer {
	names := map[responder.Cause]string{responder.Busy: "busy", responder.Panicked: "panicked", responder.TooLarge: "too large"}
	return responder.Answer{Header: nats.Header{"Trouble": {names[t.Cause]}}, Data: []byte(t.Text)}
}

// open returns a responder on a NATS of its own that serves the subject "work", one request at a time.
func open(t *testing.T, serve func(*responder.Responder, *nats.Msg) responder.Answer) (*responder.Responder, *nats.Conn, *waittest.Log) {
	t.Helper()
	nc := natstest.Connect(t, natstest.InProcess(t))
	lines := &waittest.Log{}
	log := zerolog.New(lines)
	var r *responder.Responder
	r = responder.New(nc, responder.Options{
		Limit: 1, Spell: spell, Log: &log, Serve: func(m *nats.Msg) responder.Answer { return serve(r, m) },
	})
	if err := r.Subscribe("work", "workers"); err != nil {
		t.Fatal(err)
	}
	if err := r.Cancels("cancel"); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { <-r.Drain(patience) })
	return r, nc, lines
}

func request(t *testing.T, nc *nats.Conn, data string) *nats.Msg {
	t.Helper()
	m, err := nc.Request("work", []byte(data), patience)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestResponderAnswers(t *testing.T) {
	t.Parallel()
	_, nc, lines := open(t, func(_ *responder.Responder, m *nats.Msg) responder.Answer {
		switch string(m.Data) {
		case "panic":
			panic("what a user said")
		case "large":
			return responder.Answer{Data: make([]byte, 2<<20)}
		case "header":
			return responder.Answer{Header: nats.Header{"A": {"b"}}}
		}
		return responder.Answer{Data: append([]byte("re: "), m.Data...)}
	})
	for data, want := range map[string]string{
		"x":      "map[] re: x",
		"header": "map[A:[b]] ",
		"panic":  "map[Trouble:[panicked]] internal error; see the log",
		"large":  "map[Trouble:[too large]] the answer of 2097152 bytes is larger than the server's max_payload",
	} {
		m := request(t, nc, data)
		if got := fmt.Sprintf("%v %s", m.Header, m.Data); got != want {
			t.Errorf("%s: got %q, want %q", data, got, want)
		}
	}
	for _, want := range []string{"what a user said", "stack", "request panicked", "larger than the server's max_payload"} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("the log has no %q", want)
		}
	}
}

func TestResponderSaysBusyBeyondItsLimit(t *testing.T) {
	t.Parallel()
	begun, finish := make(chan struct{}), make(chan struct{})
	_, nc, _ := open(t, func(*responder.Responder, *nats.Msg) responder.Answer {
		begun <- struct{}{}
		<-finish
		return responder.Answer{}
	})
	first := make(chan error, 1)
	go func() {
		_, err := nc.Request("work", nil, patience)
		first <- err
	}()
	<-begun
	if m := request(t, nc, ""); m.Header.Get("Trouble") != "busy" || string(m.Data) != "1 requests are under way" {
		t.Errorf("got %v %q", m.Header, m.Data)
	}
	close(finish)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestResponderCancelsByName(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	_, nc, _ := open(t, func(r *responder.Responder, m *nats.Msg) responder.Answer {
		ctx := r.Begin(string(m.Data), time.Hour)
		defer ctx.End()
		close(begun)
		<-ctx.Done()
		return responder.Answer{Data: []byte(ctx.Err().Error())}
	})
	answer := make(chan string, 1)
	go func() {
		m, err := nc.Request("work", []byte("name"), patience)
		answer <- fmt.Sprintf("%s %v", m.Data, err)
	}()
	<-begun
	for _, name := range []string{"another", "name"} {
		if err := nc.Publish("cancel", []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-answer; got != "context canceled <nil>" {
		t.Errorf("got %s", got)
	}
}

func TestResponderDrainServesWhatHasArrived(t *testing.T) {
	t.Parallel()
	const many = 200
	release := make(chan struct{})
	nc := natstest.Connect(t, natstest.InProcess(t))
	nop := zerolog.Nop()
	r := responder.New(nc, responder.Options{Limit: many, Spell: spell, Log: &nop, Serve: func(m *nats.Msg) responder.Answer {
		<-release
		return responder.Answer{Data: m.Data}
	}})
	if err := r.Subscribe("work", ""); err != nil {
		t.Fatal(err)
	}
	inbox, err := nc.SubscribeSync("answers")
	if err != nil {
		t.Fatal(err)
	}
	for i := range many {
		if err := nc.PublishRequest("work", "answers", fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
	ended := r.Drain(patience)
	close(release)
	<-ended
	if err := nc.PublishRequest("work", "answers", []byte("late")); err != nil {
		t.Fatal(err)
	}
	answered := map[string]bool{}
	for range many {
		m, err := inbox.NextMsg(patience)
		if err != nil {
			t.Fatalf("%d of %d are answered: %v", len(answered), many, err)
		}
		answered[string(m.Data)] = true
	}
	if len(answered) != many || answered["late"] {
		t.Errorf("%d of %d are answered", len(answered), many)
	}
	<-r.Drain(patience) // A second time is not an error.
}

func TestResponderRetainsSubjects(t *testing.T) {
	t.Parallel()
	r, nc, _ := open(t, func(_ *responder.Responder, m *nats.Msg) responder.Answer {
		return responder.Answer{Data: []byte(m.Subject)}
	})
	if err := r.Subscribe("more", ""); err != nil {
		t.Fatal(err)
	}
	r.Retain("more")
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if m, err := nc.Request("more", nil, patience); err != nil || string(m.Data) != "more" {
		t.Errorf("got %v, %v", m, err)
	}
	if _, err := nc.Request("work", nil, patience); err != nats.ErrNoResponders {
		t.Errorf("a subject that was let go is served: %v", err)
	}
}

func TestResponderTakingSendsNoReply(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.InProcess(t))
	r := responder.Taking(nc, 1, func(m *nats.Msg) { _ = m.Respond([]byte("mine")) }, func(*nats.Msg) {})
	if err := r.Subscribe("work", ""); err != nil {
		t.Fatal(err)
	}
	inbox, err := nc.SubscribeSync("answers")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.PublishRequest("work", "answers", nil); err != nil {
		t.Fatal(err)
	}
	<-r.Drain(patience)
	if err := nc.Publish("answers", []byte("end")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 2 {
		m, err := inbox.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(m.Data))
	}
	if fmt.Sprint(got) != "[mine end]" {
		t.Errorf("got %q", got)
	}
}

func TestRecoverMakesAPanicAnError(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	log := zerolog.New(&lines)
	fails := func(f func() error) (err error) {
		defer responder.Recover(&err, &log, "callback", "a.b", nil)
		return f()
	}
	if err := fails(func() error { return context.Canceled }); err != context.Canceled || lines.Len() > 0 {
		t.Errorf("got %v, log %s", err, &lines)
	}
	err := fails(func() error { panic("secret") })
	if err == nil || err.Error() != "callback panicked; see the log" {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(lines.String(), `"callback":"a.b","panic":"secret"`) {
		t.Errorf("logged %s", &lines)
	}
}
