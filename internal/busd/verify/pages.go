package verify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/modulebus/modulebus/bus"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/schemas/roster/v1"
)

// web is a homeserver with the module's pages.
type web struct {
	client *bus.Client
	server *http.Server
	http   *http.Client
	at     string // host:port
}

// pages serves the module's pages. It does so at the first call.
func (s *stage) pages(ctx context.Context) (*web, error) {
	if len(s.busd.last().GetWebResources()) == 0 {
		return nil, skip("it has no pages")
	}
	if s.web != nil {
		return s.web, nil
	}
	sub, err := s.nc.Subscribe(s.server.Roster(), s.roster)
	if err != nil {
		return nil, err
	}
	s.onClose(func() { _ = sub.Unsubscribe() }) // It fails only when the connection is closed.
	client, err := bus.New(ctx, s.nc, bus.Options{ServerName: serverName, Web: bus.WebOptions{ResponseTimeout: 2 * answerTime}})
	if err != nil {
		return nil, err
	}
	s.onClose(client.Close)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.web = &web{
		client: client, server: &http.Server{Handler: client.Handler(), ReadHeaderTimeout: ruleTime}, at: listener.Addr().String(),
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 4 * answerTime, CheckRedirect: unfollowed},
	}
	s.onClose(func() { _ = s.web.server.Close() }) // It has no requests any more.
	go func() { _ = s.web.server.Serve(listener) }()
	return s.web, nil
}

// unfollowed makes a client return redirects instead of following them.
func unfollowed(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// roster answers with a roster that has the module's pages.
func (s *stage) roster(m *nats.Msg) {
	data, err := wire.Encode(&rosterv1.Roster{Revision: uint64(time.Now().UnixMilli()), Modules: []*rosterv1.Module{
		{Name: moduleName, WebResources: s.busd.last().GetWebResources(), Heard: true},
	}}, wire.Binary)
	if err == nil {
		_ = m.Respond(data) // It fails when the connection is closed.
	}
}

// get sends a request to the first page, and reads all of the response.
func (s *stage) get(ctx context.Context, method string, body io.Reader) error {
	w, err := s.pages(ctx)
	if err != nil {
		return err
	}
	path := s.busd.last().GetWebResources()[0]
	req, err := http.NewRequestWithContext(ctx, method, "http://"+w.at+path, body)
	if err != nil {
		return err
	}
	rsp, err := w.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer rsp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(rsp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("%s %s: the response is cut: %w", method, path, err)
	}
	return ofModule(method+" "+path, rsp.StatusCode, text)
}

// ofModule returns an error for a response that the gateway made because the module made none.
func ofModule(what string, status int, text []byte) error {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fmt.Errorf("%s: %d %s", what, status, wire.OneLine(string(text)))
	}
	return nil
}

func servesPage(ctx context.Context, s *stage) error { return s.get(ctx, http.MethodGet, nil) }

func servesLarge(ctx context.Context, s *stage) error {
	const large = 600 << 10 // more than one message should have
	return s.get(ctx, http.MethodPost, bytes.NewReader(make([]byte, large)))
}

// servesStreamed sends a body of unknown length that is larger than a stream's first credit, in two halves.
func servesStreamed(ctx context.Context, s *stage) error {
	const half = 1 << 20
	body, sending := io.Pipe()
	defer body.Close()
	go func() {
		_, err := sending.Write(make([]byte, half))
		if err == nil {
			time.Sleep(joinEvery / 5) // The first is on its way by then.
			_, err = sending.Write(make([]byte, half))
		}
		_ = sending.CloseWithError(err) // It has no error.
	}()
	return s.get(ctx, http.MethodPost, body)
}

// speak sends the beginning of a request on a new connection.
func (s *stage) speak(ctx context.Context, head string) (net.Conn, error) {
	w, err := s.pages(ctx)
	if err != nil {
		return nil, err
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.at)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(4 * answerTime)) // It fails when the connection is closed.
	_, err = fmt.Fprintf(c, head, s.busd.last().GetWebResources()[0])
	return c, err
}

func servesCut(ctx context.Context, s *stage) error {
	c, err := s.speak(ctx, "POST %s HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1000000\r\n\r\nno more than this")
	if err != nil {
		return err
	}
	time.Sleep(joinEvery / 2) // The module has the request then.
	c.Close()
	select {
	case <-s.process.done:
		return errors.New("a client went away in the middle of a request: " + s.process.how())
	case <-time.After(2 * joinEvery): // The module has heard of that then.
	}
	if err := s.get(ctx, http.MethodGet, nil); err != nil {
		return fmt.Errorf("after a client has gone away in the middle of a request: %w", err)
	}
	return nil
}

func servesWebSocket(ctx context.Context, s *stage) error {
	c, err := s.speak(ctx, "GET %s HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err != nil {
		return err
	}
	defer c.Close()
	rsp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return fmt.Errorf("a request for a WebSocket: %w", err)
	}
	defer rsp.Body.Close()
	if rsp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(rsp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("a request for a WebSocket: the response is cut: %w", err)
	}
	return ofModule("a request for a WebSocket", rsp.StatusCode, text)
}
