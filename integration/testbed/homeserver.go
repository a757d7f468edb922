package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/busd"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/callbacks/v1"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// Homeserver is a busd in this process, on a NATS that tests share, and a homeserver beside it. Each has a server name of its
// own, so that they do not meet.
type Homeserver struct {
	*Caller // its url is empty until settled
	Home    *natstest.Home
	Name    string
	Nc      *nats.Conn // the homeserver's
	Line    string     // what busd announced; empty until settled
	client  *bus.Client
	Reload  chan busd.Reload
	said    announcement
	Stop    func() error // drains busd
}

// Open starts a busd with the modules of the configuration, which is YAML and without a server name.
func Open(t *testing.T, home *natstest.Home, name, modules string) *Homeserver {
	t.Helper()
	h := &Homeserver{
		Caller: Call(t, ""), Home: home, Name: name, Nc: natstest.Connect(t, home), Reload: make(chan busd.Reload),
		said: announcement{lines: make(chan string, 1)},
	}
	log := zerolog.New(zerolog.NewTestWriter(t)).With().Str("busd", name).Logger()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	conf := h.Config(modules)
	conf.StateDir = "" // Each homeserver forgets.
	o := busd.Options{
		Config: conf, Conn: natstest.Connect(t, home), Reload: h.Reload, Announce: &h.said, Log: log,
	}
	go func() { done <- busd.Run(ctx, o) }()
	h.Stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		h.http.CloseIdleConnections()
		if err := h.Stop(); err != nil {
			t.Errorf("busd: %v", err)
		}
	})
	return h
}

// Config reads such a configuration.
func (h *Homeserver) Config(modules string) *config.Config {
	h.Helper()
	text := fmt.Sprintf("server_name: %s\nmodules:\n%s", h.Name, modules)
	if !strings.Contains(text, "http:") {
		text += "http: {listen: '127.0.0.1:0'}\n"
	}
	c, err := config.Parse("busd.yaml", []byte(text))
	if err != nil {
		h.Fatalf("%v\nin\n%s", err, text)
	}
	return c
}

// announcement is where busd announces.
type announcement struct{ lines chan string }

// Write implements [io.Writer].
func (a *announcement) Write(line []byte) (int, error) {
	a.lines <- string(line)
	return len(line), nil
}

var announced = regexp.MustCompile(`HTTP at (\S+), NATS at`)

// Settle waits until busd is ready, and the homeserver follows its roster; where the modules are heard of in all of NATS.
func (h *Homeserver) Settle(interest ...string) {
	h.Helper()
	select {
	case h.Line = <-h.said.lines:
	case <-Bounded(h.T).Done():
		h.Fatal("busd announced nothing")
	}
	h.URL = announced.FindStringSubmatch(h.Line)[1]
	for _, subject := range append(interest, subjects.For(h.Name).Ask(subjects.All()[0])) {
		natstest.AwaitInterest(h.T, h.Home, subject)
	}
	var err error
	if h.client, err = bus.New(context.Background(), h.Nc, bus.Options{ServerName: h.Name}); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(h.client.Close)
}

// Outcome is what came of an ask, whichever door it went through.
type Outcome struct {
	Answer    any
	DecidedBy string
	Failures  []string // module, failure and policy
	Failed    string   // the module that left the ask without a decision, and its failure
}

// A Door is a way to ask. It returns what came of it, or fails the test where the door itself misbehaves.
type Door struct {
	Name string
	Ask  func(h *Homeserver, d *subjects.Declaration, request string) Outcome
}

// Doors are all of them.
var Doors = []Door{
	{"package bus", (*Homeserver).askTyped},
	{"HTTP in JSON", func(h *Homeserver, d *subjects.Declaration, request string) Outcome {
		return h.askHTTP(d, "application/json", []byte(request))
	}},
	{"HTTP in protobuf", func(h *Homeserver, d *subjects.Declaration, request string) Outcome {
		return h.askHTTP(d, "application/x-protobuf", h.binary(d, request))
	}},
	{"NATS in JSON", func(h *Homeserver, d *subjects.Declaration, request string) Outcome {
		return h.askNATS(d, "application/json", []byte(request))
	}},
	{"NATS in protobuf", func(h *Homeserver, d *subjects.Declaration, request string) Outcome {
		return h.askNATS(d, "", h.binary(d, request))
	}},
}

// Message is a request of the callback, from its JSON.
func (h *Homeserver) Message(d *subjects.Declaration, request string) proto.Message {
	h.Helper()
	m := d.NewRequest()
	if err := wire.FromJSON([]byte(request), m, true); err != nil {
		h.Fatalf("%s: %v", request, err)
	}
	return m
}

func (h *Homeserver) binary(d *subjects.Declaration, request string) []byte {
	h.Helper()
	data, err := proto.Marshal(h.Message(d, request))
	if err != nil {
		h.Fatal(err)
	}
	return data
}

// askTyped calls the method that a homeserver in Go would.
func (h *Homeserver) askTyped(d *subjects.Declaration, request string) Outcome {
	h.Helper()
	category := reflect.ValueOf(h.client.Categories).FieldByName(Exported(d.Category.Name))
	method := category.MethodByName(methodName(d))
	results := method.Call([]reflect.Value{reflect.ValueOf(Bounded(h.T)), reflect.ValueOf(h.Message(d, request))})
	if err, _ := reflect.TypeAssert[error](results[1]); err != nil {
		var failed *bus.Error
		if !errors.As(err, &failed) {
			h.Fatalf("the ask failed with %v", err)
		}
		return Outcome{Failed: failed.Module + " " + wire.KindName(failed.Kind)}
	}
	decision := results[0]
	o := Outcome{DecidedBy: decision.FieldByName("DecidedBy").String()}
	if answer := decision.FieldByName("Answer"); !answer.IsNil() {
		o.Answer = h.Plain(answer.Interface().(proto.Message))
	}
	for _, f := range decision.FieldByName("Failures").Interface().([]bus.Failure) {
		o.Failures = append(o.Failures, failure(f.Module, f.Kind, f.Policy))
	}
	h.hasRevision(decision.FieldByName("RosterRevision").Uint())
	return o
}

// methodName is the name of a callback's method: that of its rpc.
func methodName(d *subjects.Declaration) string {
	return strings.TrimSuffix(string(d.NewRequest().ProtoReflect().Descriptor().Name()), "Request")
}

func failure(module string, kind rosterv1.FailureKind, policy callbacksv1.OnFailure) string {
	return strings.ToLower(module + " " + kind.String() + " " + policy.String())
}

// Plain is the message as JSON has it, read into maps and slices.
func (h *Homeserver) Plain(m proto.Message) any {
	h.Helper()
	text, err := wire.ToJSON(m)
	if err != nil {
		h.Fatal(err)
	}
	return parsed(h.T, string(text))
}

func (h *Homeserver) hasRevision(got uint64) {
	h.Helper()
	if got == 0 {
		h.Error("no roster revision")
	}
}

func askPath(d *subjects.Declaration) string {
	return "/_modulebus/v1/ask/" + strings.Replace(d.FullName(), ".", "/", 1)
}

func (h *Homeserver) askHTTP(d *subjects.Declaration, contentType string, body []byte) Outcome {
	h.Helper()
	rsp, out := h.Request(http.MethodPost, askPath(d), body, "Content-Type", contentType)
	switch got := rsp.Header.Get("Content-Type"); {
	case rsp.StatusCode == http.StatusBadGateway && got == "application/json":
		return h.failed(out)
	case rsp.StatusCode != http.StatusOK || got != contentType:
		h.Fatalf("answered %s of type %q: %s", rsp.Status, got, out)
	}
	return h.decision(d, contentType == "application/json", out)
}

func (h *Homeserver) askNATS(d *subjects.Declaration, contentType string, body []byte) Outcome {
	h.Helper()
	m := &nats.Msg{Subject: subjects.For(h.Name).Ask(d), Data: body, Header: nats.Header{}}
	if contentType != "" {
		m.Header.Set("Content-Type", contentType)
	}
	reply, err := h.Nc.RequestMsgWithContext(Bounded(h.T), m)
	if err != nil {
		h.Fatal(err)
	}
	switch code := reply.Header.Get("Nats-Service-Error-Code"); {
	case code == "502" && reply.Header.Get("Nats-Service-Error") != "":
		return h.failed(reply.Data)
	case code != "":
		h.Fatalf("answered %s %s: %s", code, reply.Header.Get("Nats-Service-Error"), reply.Data)
	case reply.Header.Get("Content-Type") != contentType:
		h.Fatalf("answered with type %q", reply.Header.Get("Content-Type"))
	}
	return h.decision(d, contentType == "application/json", reply.Data)
}

// failed reads the error of an ask without a decision.
func (h *Homeserver) failed(body []byte) Outcome {
	h.Helper()
	var e struct{ Errcode, Error, Module, Failure string }
	if err := json.Unmarshal(body, &e); err != nil || e.Errcode != "M_UNKNOWN" || e.Error == "" {
		h.Fatalf("%v in %s", err, body)
	}
	return Outcome{Failed: e.Module + " " + e.Failure}
}

// decision reads the message that a decision is over HTTP.
func (h *Homeserver) decision(d *subjects.Declaration, inJSON bool, body []byte) Outcome {
	h.Helper()
	if inJSON {
		return h.decisionJSON(body)
	}
	m := &rosterv1.Decision{}
	if err := proto.Unmarshal(body, m); err != nil {
		h.Fatal(err)
	}
	h.hasRevision(m.GetRosterRevision())
	o := Outcome{DecidedBy: m.GetDecidedBy()}
	if m.Answer != nil {
		answer := d.NewReply()
		if err := proto.Unmarshal(m.GetAnswer(), answer); err != nil {
			h.Fatal(err)
		}
		o.Answer = h.Plain(answer)
	}
	for _, f := range m.GetFailures() {
		o.Failures = append(o.Failures, failure(f.GetModule(), f.GetFailure(), f.GetPolicy()))
	}
	return o
}

func (h *Homeserver) decisionJSON(body []byte) Outcome {
	h.Helper()
	var m struct {
		Answer         any
		DecidedBy      *string `json:"decided_by"`
		Failures       *[]struct{ Module, Failure, Policy string }
		RosterRevision uint64 `json:"roster_revision"`
		DecisionID     string `json:"decision_id"` // Absent where no module was asked.
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&m); err != nil || m.Failures == nil || m.DecidedBy != nil && *m.DecidedBy == "" {
		h.Fatalf("%v in %s", err, body)
	}
	h.hasRevision(m.RosterRevision)
	o := Outcome{Answer: m.Answer}
	if m.DecidedBy != nil {
		o.DecidedBy = *m.DecidedBy
	}
	for _, f := range *m.Failures {
		o.Failures = append(o.Failures, f.Module+" "+f.Failure+" "+f.Policy)
	}
	return o
}

// Record is what modules were asked with.
type Record struct {
	mu    sync.Mutex
	heard map[string][]any
}

// Note keeps a request that the module was asked with.
func (r *Record) Note(module string, request any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.heard == nil {
		r.heard = map[string][]any{}
	}
	r.heard[module] = append(r.heard[module], request)
}

// Take returns what there is, and forgets it.
func (r *Record) Take() map[string][]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	heard := r.heard
	r.heard = nil
	return heard
}

// Exported is a name of Synapse's as Go spells it.
func Exported(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "_") {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
