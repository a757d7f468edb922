package foreign_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	coder "github.com/coder/websocket"
	gobwas "github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	gorilla "github.com/gorilla/websocket"
)

// TestWebSocket has three servers and three clients of three libraries talk to each other: compressed and not, in one
// frame and in many, in small messages and large ones, with pings, and closed by either side with a code and a reason.
func TestWebSocket(t *testing.T) {
	t.Parallel()
	servers := map[string]http.HandlerFunc{"gorilla": gorillaEcho, "coder": coderEcho, "gobwas": gobwasEcho}
	clients := map[string]func(*testing.T, string) []string{"gorilla": gorillaTalk, "coder": coderTalk, "gobwas": gobwasTalk}
	for server, h := range servers {
		for client, talk := range clients {
			t.Run(client+" to "+server, func(t *testing.T) {
				t.Parallel()
				suite[[]string]{handler: below(h), client: talk}.run(t)
			})
		}
	}
}

// TestWebSocketOfManyMiB sends messages that are larger than any window.
func TestWebSocketOfManyMiB(t *testing.T) {
	t.Parallel()
	suite[bool]{handler: below(http.HandlerFunc(gorillaEcho)), client: func(t *testing.T, base string) bool {
		c, _ := must2(gorilla.DefaultDialer.Dial(socketURL(base), nil))(t)
		defer c.Close()
		big := noise(16 << 20)
		sent := make(chan error, 1)
		go func() { sent <- c.WriteMessage(gorilla.BinaryMessage, big) }()
		_, got := must2(c.ReadMessage())(t)
		if err := <-sent; err != nil || !bytes.Equal(got, big) {
			t.Errorf("sent %v, got %d other bytes", err, len(got))
		}
		return true
	}}.run(t)
}

// must2 is must for what returns two values.
func must2[A, B any](a A, b B, err error) func(*testing.T) (A, B) {
	return func(t *testing.T) (A, B) { t.Helper(); return must(a, err)(t), b }
}

func socketURL(base string) string { return "ws" + strings.TrimPrefix(base, "http") }

// Servers. Each sends back what it is sent, and closes with a code of its own when asked to.

const closeYourself, ownCode, ownReason = "close yourself", 4001, "as you wish"

func gorillaEcho(w http.ResponseWriter, r *http.Request) {
	up := gorilla.Upgrader{EnableCompression: true, Subprotocols: []string{"echo"}, WriteBufferSize: 512}
	c, err := up.Upgrade(w, r, http.Header{"X-Said": {"hello"}})
	if err != nil {
		return
	}
	defer c.Close()
	for {
		kind, p, err := c.ReadMessage()
		if err != nil {
			return
		}
		if string(p) == closeYourself {
			_ = c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(ownCode, ownReason))
			continue
		}
		_ = c.WriteMessage(kind, p)
	}
}

func coderEcho(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Said", "hello")
	c, err := coder.Accept(w, r, &coder.AcceptOptions{Subprotocols: []string{"echo"}, CompressionMode: coder.CompressionContextTakeover})
	if err != nil {
		return
	}
	defer c.CloseNow()
	c.SetReadLimit(-1)
	for {
		kind, p, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if string(p) == closeYourself {
			_ = c.Close(ownCode, ownReason)
			return
		}
		_ = c.Write(r.Context(), kind, p)
	}
}

func gobwasEcho(w http.ResponseWriter, r *http.Request) {
	up := gobwas.HTTPUpgrader{Protocol: func(p string) bool { return p == "echo" }, Header: http.Header{"X-Said": {"hello"}}}
	c, _, _, err := up.Upgrade(r, w)
	if err != nil {
		return
	}
	defer c.Close()
	for {
		p, op, err := wsutil.ReadClientData(c) // It answers pings and closes.
		if err != nil {
			return
		}
		if string(p) == closeYourself {
			_ = wsutil.WriteServerMessage(c, gobwas.OpClose, gobwas.NewCloseFrameBody(ownCode, ownReason))
			_, _, _ = wsutil.ReadClientData(c)
			return
		}
		_ = wsutil.WriteServerMessage(c, op, p)
	}
}

// Clients. Each returns what it was told.

var messages = []string{"", "hello", strings.Repeat("compressible ", 10_000), string(noise(100_000))}

// brief is a message in few words.
func brief(p []byte) string {
	for i, m := range messages {
		if string(p) == m {
			return fmt.Sprint("message ", i)
		}
	}
	return fmt.Sprintf("%d bytes: %.40q", len(p), p)
}

func gorillaTalk(t *testing.T, base string) (said []string) {
	say := func(a ...any) { said = append(said, fmt.Sprint(a...)) }
	d := gorilla.Dialer{EnableCompression: true, Subprotocols: []string{"other", "echo"}, WriteBufferSize: 1000}
	dial := func() *gorilla.Conn {
		c, rsp := must2(d.Dial(socketURL(base)+"?q=1", nil))(t)
		h := rsp.Header
		say(rsp.Status, h["X-Said"], h["Sec-Websocket-Extensions"], c.Subprotocol())
		c.SetPongHandler(func(p string) error { say("pong ", p); return nil })
		return c
	}
	c := dial()
	defer c.Close()
	for _, m := range messages {
		say(c.WriteControl(gorilla.PingMessage, []byte("ping"), time.Now().Add(patience)))
		w := must(c.NextWriter(gorilla.BinaryMessage))(t) // Each 1000 bytes are a frame.
		_, err := io.WriteString(w, m)
		say(err, w.Close())
		kind, p, err := c.ReadMessage()
		say(kind, brief(p), err)
	}
	say(c.WriteMessage(gorilla.CloseMessage, gorilla.FormatCloseMessage(4002, "enough")))
	_, _, err := c.ReadMessage()
	say(err)
	_, err = c.NetConn().Read(make([]byte, 1))
	say(err)

	c = dial()
	defer c.Close()
	say(c.WriteMessage(gorilla.TextMessage, []byte(closeYourself)))
	_, _, err = c.ReadMessage()
	say(err)
	return said
}

func coderTalk(t *testing.T, base string) (said []string) {
	say := func(a ...any) { said = append(said, fmt.Sprint(a...)) }
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	o := &coder.DialOptions{Subprotocols: []string{"echo"}, CompressionMode: coder.CompressionContextTakeover, HTTPClient: httpClient(t)}
	dial := func() *coder.Conn {
		c, rsp := must2(coder.Dial(ctx, socketURL(base), o))(t)
		c.SetReadLimit(-1)
		say(rsp.Status, rsp.Header["X-Said"], rsp.Header["Sec-Websocket-Extensions"], c.Subprotocol())
		return c
	}
	c := dial()
	defer c.CloseNow()
	for _, m := range messages {
		w := must(c.Writer(ctx, coder.MessageBinary))(t)
		for part := range strings.SplitAfterSeq(m, "bl") {
			_, err := io.WriteString(w, part)
			must(0, err)(t)
		}
		say(w.Close())
		kind, p, err := c.Read(ctx)
		say(kind, brief(p), err)
	}
	pinged := make(chan error, 1)
	go func() { pinged <- c.Ping(ctx); _ = c.Write(ctx, coder.MessageText, []byte("after the ping")) }()
	_, p, err := c.Read(ctx)
	say(brief(p), err, <-pinged)
	say(c.Close(4002, "enough"))

	c = dial()
	defer c.CloseNow()
	say(c.Write(ctx, coder.MessageText, []byte(closeYourself)))
	_, _, err = c.Read(ctx)
	say(coder.CloseStatus(err))
	return said
}

// gobwasTalk says each frame itself, and some that are wrong.
func gobwasTalk(t *testing.T, base string) (said []string) {
	say := func(a ...any) { said = append(said, fmt.Sprint(a...)) }
	talk := func(name string, frames ...gobwas.Frame) {
		said = append(said, name)
		d := gobwas.Dialer{Protocols: []string{"echo"}, Header: gobwas.HandshakeHeaderHTTP{"X-A": {"b"}}}
		c, buffered, shaken, err := d.Dial(t.Context(), socketURL(base))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		say(shaken.Protocol, buffered == nil)
		go func() {
			for _, f := range frames {
				_ = gobwas.WriteFrame(c, f)
			}
		}()
		said = append(said, heard(c)...)
	}
	masked := func(op gobwas.OpCode, fin bool, p string) gobwas.Frame {
		return gobwas.MaskFrame(gobwas.NewFrame(op, fin, []byte(p)))
	}
	bye := gobwas.MaskFrame(gobwas.NewCloseFrame(gobwas.NewCloseFrameBody(gobwas.StatusNormalClosure, "")))
	talk("a ping among fragments", masked(gobwas.OpText, false, "a"), masked(gobwas.OpPing, true, "p"),
		masked(gobwas.OpContinuation, false, ""), masked(gobwas.OpContinuation, true, "b"), bye)
	talk("messages behind one another", masked(gobwas.OpText, true, "1"), masked(gobwas.OpBinary, true, "2"), masked(gobwas.OpText, true, "3"), bye)
	talk("not masked", gobwas.NewTextFrame([]byte("x")))
	talk("nothing to continue", masked(gobwas.OpContinuation, true, "x"))
	talk("an unknown kind", masked(gobwas.OpCode(3), true, "x"))
	talk("a ping that is too long", masked(gobwas.OpPing, true, strings.Repeat("x", 126)))
	return said
}

// heard is what comes until the connection ends. A server that closes what it has not read resets it, which behind any hop
// is an end as any other.
func heard(c net.Conn) (said []string) {
	for {
		f, err := gobwas.ReadFrame(io.LimitReader(c, 1<<20)) //nolint:staticcheck // a limit for each frame is one
		if err != nil {
			return append(said, "end")
		}
		said = append(said, fmt.Sprintf("%d %v %q", f.Header.OpCode, f.Header.Fin, f.Payload))
	}
}
