// Package antispam lets a server of the HTTP antispam protocol, such as Meowlnir or Draupnir, take part as a module.
// busd is the module's worker, and passes questions on to the server. So the server has an order, deadlines, a breaker
// and records, as any module has.
//
//	server, err := antispam.New(antispam.Options{Module: entry, ServerName: name, Conn: nc, Health: health, Log: log})
//	if err != nil {
//		return err // the token's file cannot be read
//	}
//	err = server.Run(ctx)
package antispam

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/antispam"
	"github.com/modulebus/modulebus/internal/busd/config"
	"github.com/modulebus/modulebus/internal/busd/renewed"
	"github.com/modulebus/modulebus/internal/kitopts"
	"github.com/modulebus/modulebus/modulekit"
	"github.com/modulebus/modulebus/subjects"
)

const (
	// maxReply is the size of a server's reply in bytes, as in Continuwuity. Beyond: the server has failed.
	maxReply = 64 << 10

	// maxHeader is the size of a reply's header in bytes. Beyond: the server has failed.
	maxHeader = 64 << 10

	// concurrency is how many questions a worker asks a server at once, and how many events the server is told of at once.
	// Beyond: busd answers a question busy, and drops and logs what it would tell.
	concurrency = 256

	// toldTime is how long a server may take for what it is only told (async), as in synapse-http-antispam. Beyond:
	// logged.
	toldTime = time.Minute

	// drainTime is how long telling a server may go on when busd ends. Beyond: it is broken off.
	drainTime = 5 * time.Second

	idleFor = 90 * time.Second // until an unused connection is closed

	// userAgent is what synapse-http-antispam sends in the Synapse in which it was recorded. Servers may depend on it.
	userAgent = "Synapse/1.163.2"
)

// Options configure a [Server]. All are required.
type Options struct {
	// Module is the server's entry, with Antispam.
	Module config.Module

	ServerName string

	// Conn is a connection with the module's permissions. It stays the caller's.
	Conn *nats.Conn

	// Health is called after each ping, with the reason why the server does not work, or "" if it does.
	Health func(why string)

	Log zerolog.Logger
}

// Server is an antispam server as a module.
type Server struct {
	Options
	token *renewed.Value[string] // nil for none
	http  *http.Client
	told  chan struct{} // has a place for each event that the server is being told of
	owned sync.WaitGroup
}

// New returns the server, and asks it nothing yet. It fails if the token's file cannot be read.
func New(o Options) (*Server, error) {
	s := &Server{Options: o, told: make(chan struct{}, concurrency), http: &http.Client{
		Transport:     transport(o.Module.AntispamWorkers()),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	s.Log = o.Log.With().Str("module", o.Module.Name).Logger()
	file := o.Module.Antispam.TokenFile
	if file == "" {
		return s, nil
	}
	var err error
	s.token, err = renewed.Open(s.Log, func() (string, error) { return readToken(file) }, file)
	return s, err
}

// transport connects to the server of so many workers. It speaks HTTP/1.1, as Synapse does, so that a question that is asked again
// has a connection of its own. There is one for each question that may be under way, for what the server is told, and for a ping: none
// waits for another.
func transport(workers int) *http.Transport {
	one := new(http.Protocols)
	one.SetHTTP1(true)
	return &http.Transport{
		Protocols: one, DialContext: dial, MaxConnsPerHost: (workers+1)*concurrency + 1, MaxIdleConnsPerHost: concurrency, IdleConnTimeout: idleFor,
		TLSHandshakeTimeout: dialTime, MaxResponseHeaderBytes: maxHeader,
	}
}

func readToken(file string) (string, error) {
	token, err := config.ReadToken(file, "the server's token")
	if err != nil {
		return "", fmt.Errorf("antispam.token_file: %w", err)
	}
	return string(token), nil
}

// Run makes the server take part until ctx ends, and then drains it. It returns an error when NATS is gone for good.
func (s *Server) Run(ctx context.Context) error {
	defer s.http.CloseIdleConnections()
	looking, stop := context.WithCancel(ctx)
	s.owned.Go(func() { s.watch(looking) })
	telling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	workers := make(chan error)
	for range s.Module.AntispamWorkers() {
		go func() { workers <- s.work(ctx, telling) }()
	}
	var err error
	for range s.Module.AntispamWorkers() {
		err = errors.Join(err, <-workers)
	}
	stop()
	defer time.AfterFunc(drainTime, cancel).Stop()
	s.owned.Wait()
	return err
}

// work is one worker of the module.
func (s *Server) work(ctx, telling context.Context) error {
	return modulekit.Run(kitopts.With(ctx, kitopts.Module{Answers: s.answers(telling)}), s.Conn, modulekit.Module[struct{}]{
		New: func(struct{}, *modulekit.ModuleAPI) error { return nil },
	}, modulekit.Options{ServerName: s.ServerName, Module: s.Module.Name, Concurrency: concurrency, Log: &s.Log})
}

func (s *Server) answers(telling context.Context) map[*subjects.Declaration]kitopts.Answer {
	all := map[*subjects.Declaration]kitopts.Answer{}
	for _, name := range s.Module.Antispam.Callbacks {
		d, _ := antispam.Find(name) // The configuration has no others.
		if slices.Contains(s.Module.Antispam.Async, name) {
			all[d] = func(_ context.Context, req proto.Message) (proto.Message, error) { return nil, s.tell(telling, d, req) }
		} else {
			all[d] = func(ctx context.Context, req proto.Message) (proto.Message, error) { return s.ask(ctx, d, req) }
		}
	}
	return all
}

// ask returns the server's verdict.
func (s *Server) ask(ctx context.Context, d *subjects.Declaration, req proto.Message) (proto.Message, error) {
	body, err := antispam.Encode(req)
	if err != nil {
		return nil, err
	}
	status, reply, err := s.post(ctx, d.Name, body)
	if err != nil {
		return nil, err
	}
	refusal, err := antispam.Verdict(status, reply)
	if err != nil {
		return nil, fmt.Errorf("the server %w", err)
	}
	if refusal == nil {
		return nil, nil
	}
	return d.Refused(refusal), nil
}

// tell asks in the background. It fails only if it cannot begin.
func (s *Server) tell(ctx context.Context, d *subjects.Declaration, req proto.Message) error {
	select {
	case s.told <- struct{}{}:
	default:
		return fmt.Errorf("%d questions that it is told are under way", concurrency)
	}
	s.owned.Go(func() {
		defer func() { <-s.told }()
		ctx, cancel := context.WithTimeout(ctx, toldTime)
		defer cancel()
		if _, err := s.ask(ctx, d, req); err != nil {
			s.Log.Warn().Err(err).Str("callback", d.FullName()).Msg("the antispam server could not be told")
		}
	})
	return nil
}

var (
	// errTooLarge is the error of a reply that is too large to be read.
	errTooLarge = fmt.Errorf("the server's reply is larger than %d bytes", maxReply)

	// errSwitched is the error of a reply that is none.
	errSwitched = errors.New("the server answered 101, as if it had been asked for another protocol: is base_url right?")
)

// post asks as synapse-http-antispam does, with the same headers. Package net/http adds Accept-Encoding, and decompresses the reply.
func (s *Server) post(ctx context.Context, name string, body []byte) (status int, reply []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Module.Antispam.BaseURL+"/"+name, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", userAgent)
	r.Header["Idempotency-Key"] = nil // It is not sent. It lets net/http ask again if an idle connection was closed before a reply began.
	if s.token != nil {
		r.Header.Set("Authorization", "Bearer "+s.token.Value())
	}
	rsp, err := s.http.Do(r)
	if err != nil {
		return 0, nil, broken(ctx, err, "the server cannot be reached: does it run, and is base_url right?")
	}
	defer rsp.Body.Close()
	if rsp.StatusCode == http.StatusSwitchingProtocols { // The body would be the connection, of which reading does not end with ctx.
		return 0, nil, errSwitched
	}
	reply, err = io.ReadAll(io.LimitReader(rsp.Body, maxReply+1))
	switch {
	case err != nil:
		return 0, nil, broken(ctx, err, "the server's reply cannot be read: see its log")
	case len(reply) > maxReply:
		return 0, nil, errTooLarge
	}
	return rsp.StatusCode, reply, nil
}

// broken says of the error of a request what to do; otherwise is for an error that nothing better is known of.
func broken(ctx context.Context, err error, otherwise string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("the server did not answer in time: %w", ctx.Err())
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the server closed the connection without an answer: see its log: %w", err)
	}
	return fmt.Errorf("%s %w", otherwise, err)
}
