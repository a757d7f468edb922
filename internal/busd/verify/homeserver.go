package verify

import (
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/matrix"
	"github.com/modulebus/modulebus/schemas/roster/v1"
	"github.com/modulebus/modulebus/subjects"
)

// manner is how the homeserver treats calls of the Module API.
type manner int

const (
	answering manner = iota
	refusing
	silent
)

// homeserver is a scripted homeserver, which modules call and read files from. It answers with plausible values, unless
// a rule changes its manner.
type homeserver struct {
	nc     *nats.Conn
	server subjects.Server
	subs   []*nats.Subscription

	mu     sync.Mutex // guards what follows
	manner manner
	calls  int
	wrong  string // the first call, or read, that cannot be understood
	files  map[string][]byte
	reads  []int64 // offsets, of all files
	put    int64   // the offset at which the last read was put off as busy; -1 for none
}

// fileClient is the client's name in the subjects of files.
const fileClient = "verify"

func openHomeserver(nc *nats.Conn, server subjects.Server) (*homeserver, error) {
	h := &homeserver{nc: nc, server: server, files: map[string][]byte{}, put: -1}
	for subject, handle := range map[string]nats.MsgHandler{
		server.APIAny(): h.call, server.FileAny(fileClient): h.read,
	} {
		sub, err := nc.Subscribe(subject, handle)
		if err != nil {
			return nil, err
		}
		h.subs = append(h.subs, sub)
	}
	return h, nc.Flush()
}

func (h *homeserver) close() {
	for _, sub := range h.subs {
		_ = sub.Unsubscribe() // It fails only when the connection is closed.
	}
}

// be sets the manner in which later calls are treated.
func (h *homeserver) be(m manner) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.manner = m
}

// called returns how many calls there were, and what was wrong with the first invalid one.
func (h *homeserver) called() (calls int, wrong string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls, h.wrong
}

func (h *homeserver) blame(format string, args ...any) {
	if h.wrong == "" {
		h.wrong = fmt.Sprintf(format, args...)
	}
}

// call answers a call of the Module API.
func (h *homeserver) call(m *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	_, name, _ := subjects.MethodOf(m.Subject) // The subscription hears no other subjects.
	method, known := subjects.FindMethod(name)
	var err error
	if known {
		err = wire.DecodeStrict(m.Data, wire.MappingOf(m), method.NewRequest())
	}
	switch {
	case !known:
		h.blame("it requests %s, and there is no method %s", m.Subject, name)
		refuse(m, &matrix.Error{Status: http.StatusNotFound, Errcode: "M_UNRECOGNIZED", Text: "there is no such method"})
	case err != nil:
		h.blame("%s: its request is no %s: %v", name, method.NewRequest().ProtoReflect().Descriptor().Name(), err)
		refuse(m, &matrix.Error{Status: http.StatusBadRequest, Errcode: "M_BAD_JSON", Text: "cannot read the request"})
	case h.manner == refusing:
		refuse(m, &matrix.Error{Status: http.StatusForbidden, Errcode: "M_FORBIDDEN", Text: "the operator has not granted that"})
	case h.manner == answering:
		h.answer(m, method)
	}
}

func (h *homeserver) answer(m *nats.Msg, method *subjects.Method) {
	reply := method.NewReply()
	fill(reply.ProtoReflect(), 0)
	in := wire.MappingOf(m)
	if data, err := wire.Encode(reply, in); err == nil {
		_ = m.RespondMsg(&nats.Msg{Header: in.Header(), Data: data}) // It fails when the connection is closed.
	}
}

func refuse(m *nats.Msg, e *matrix.Error) {
	_ = m.RespondMsg(&nats.Msg{Header: wire.MatrixErrorHeader(e), Data: e.Body()}) // It fails when the connection is closed.
}

// serve makes content readable at the returned subject.
func (h *homeserver) serve(name string, content []byte) (subject string) {
	subject = h.server.File(moduleName, fileClient, name)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.files[subject], h.reads, h.put = content, nil, -1
	return subject
}

// piece is how much of a file is sent at once, which is less than modules ask for.
const piece = 48 << 10

// read sends a piece of a file. It answers busy to the first request for the second piece.
func (h *homeserver) read(m *nats.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &rosterv1.ReadFile{}
	if err := wire.DecodeMessage(m, r); err != nil || r.GetOffset() < 0 {
		h.blame("it reads at %s with what is no ReadFile", m.Subject)
	}
	h.reads = append(h.reads, r.GetOffset())
	if len(h.reads) == 2 {
		h.put = r.GetOffset()
		f := &wire.Failure{Kind: rosterv1.FailureKind_BUSY, Text: "later"}
		_ = m.RespondMsg(&nats.Msg{Header: f.Header()}) // It fails when the connection is closed.
		return
	}
	content := h.files[m.Subject]
	from := min(max(r.GetOffset(), 0), int64(len(content)))
	_ = m.Respond(content[from:min(from+min(int64(r.GetLength()), piece), int64(len(content)))])
}

// readIn returns what was wrong with how a file was read.
func (h *homeserver) readIn() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.wrong != "":
		return fmt.Errorf("%s", h.wrong)
	case len(h.reads) == 0:
		return skip("it does not read the file")
	case h.put >= 0 && !slices.Contains(h.reads[2:], h.put):
		return fmt.Errorf("its request for the piece at %d was answered with busy, and it has not asked for it again", h.put)
	}
	return nil
}
