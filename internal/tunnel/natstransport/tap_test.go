package natstransport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/natstest"
	"github.com/modulebus/modulebus/internal/tunnel/flow"
	"github.com/modulebus/modulebus/internal/waittest"
	"github.com/modulebus/modulebus/internal/webpath"
	"github.com/modulebus/modulebus/internal/wire"
	"github.com/modulebus/modulebus/subjects"
)

// incoming is a connection on which something comes in.
type incoming struct {
	net.Conn
	io.Reader
}

func (c incoming) Read(p []byte) (int, error) { return c.Reader.Read(p) }

// through reads all of what comes in, and returns the library's part and the messages.
func through(in io.Reader, size int) (passed, taken string, err error) {
	var messages strings.Builder
	conn, _ := tapOf(func(subject, reply string, payload []byte) {
		fmt.Fprintf(&messages, "%s %s %q\n", subject, reply, payload)
	})(incoming{Reader: in}, nil)
	all, err := io.ReadAll(struct{ io.Reader }{readsOf{conn, size}})
	return string(all), messages.String(), err
}

// readsOf reads little at a time.
type readsOf struct {
	io.Reader
	size int
}

func (r readsOf) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(len(p), r.size)]) }

// pieces delivers bytes a few at a time.
type pieces struct {
	rest  []byte
	sizes []int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return 0, io.EOF
	}
	size := p.sizes[0]
	p.sizes = append(p.sizes[1:], size)
	n := copy(b, p.rest[:min(size, len(p.rest))])
	p.rest = p.rest[n:]
	return n, nil
}

var (
	payload = rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z \r\n]{0,40}`),
		rapid.Map(rapid.IntRange(0, 50_000), func(n int) string { return strings.Repeat("MSG a 1 3\r\n", n/11) }),
	)
	library = rapid.SampledFrom([]string{
		"PING\r\n", "PONG\r\n", "+OK\r\n", "-ERR 'Slow Consumer'\r\n", "INFO {\"connect_urls\":[]}\r\n",
		"HMSG a.b 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n", "HMSG a.b 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
	})
)

func TestTapTakesMessagesAndNothingElse(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var all, passed, taken bytes.Buffer
		for range rapid.IntRange(0, 20).Draw(t, "ops") {
			if rapid.Bool().Draw(t, "passes") {
				op := library.Draw(t, "op")
				all.WriteString(op)
				passed.WriteString(op)
				continue
			}
			reply, p := rapid.SampledFrom([]string{"", "r.1"}).Draw(t, "reply"), payload.Draw(t, "payload")
			fmt.Fprintf(&all, "MSG a.b 1 %s %d\r\n%s\r\n", reply, len(p), p)
			fmt.Fprintf(&taken, "a.b %s %q\n", reply, p)
		}
		sizes := rapid.SliceOfN(rapid.IntRange(1, 40_000), 1, 10).Draw(t, "sizes")
		gotPassed, gotTaken, err := through(&pieces{all.Bytes(), sizes}, rapid.IntRange(1, 1000).Draw(t, "reads"))
		if err != nil || gotPassed != passed.String() || gotTaken != taken.String() {
			t.Fatalf("passed %q, %v, want %q; took %d bytes, want %d", gotPassed, err, passed.String(), len(gotTaken), taken.Len())
		}
	})
}

// What is not the protocol in clear text passes as it is, and at once.
func TestTapStepsAside(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"\x16\x03\x01", "INFO {}\r\n\x16\x03\x01", "HTTP/1.1 101 Switching Protocols\r\n\r\nMSG a 1 1\r\na\r\n",
		"MSG a 1 -1\r\n", "MSG a 1 99999999999\r\nx", "MSG a\r\nMSG a 1 1\r\na\r\n", "HMSG a 1 x\r\n",
		"INFO " + strings.Repeat("x", 2*readSize) + "\r\n", "MSG a b c d 1\r\n", "\r\n",
	} {
		passed, taken, err := through(iotest.OneByteReader(strings.NewReader(in)), 10)
		if passed != in || taken != "" || err != nil {
			t.Errorf("%.40q: passed %.40q, took %q, %v", in, passed, taken, err)
		}
	}
	if _, _, err := through(strings.NewReader("MSG a 1 1\r\nabc"), 10); !errors.Is(err, errOutOfStep) {
		t.Errorf("out of step: %v", err)
	}
}

func FuzzTap(f *testing.F) {
	f.Add([]byte("INFO {}\r\nMSG a 1 r 2\r\nhi\r\nHMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\n"), uint8(3))
	f.Add([]byte("MSG  a\t1 0 \r\n\r\n\x16"), uint8(1))
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		passed, taken, err := through(bytes.NewReader(in), len(in)+1)
		p, q, r := through(&pieces{in, []int{int(size) + 1}}, int(size)+1)
		if p != passed || q != taken || errors.Is(err, errOutOfStep) != errors.Is(r, errOutOfStep) {
			t.Errorf("at once %q, %q, %v; in pieces %q, %q, %v", passed, taken, err, p, q, r)
		}
	})
}

// listener is a side that tells what it hears.
type listener chan<- string

func (l listener) Receive(by flow.Channel, token string, from flow.Address, frame []byte) {
	l <- fmt.Sprintf("%s from %s, %s on %s: %d bytes", token, from.Process, from.Token, tokens[by], len(frame))
}

func (l listener) Unheard(token, process string) {
	l <- fmt.Sprintf("%s unheard by %s", token, process)
}
func (l listener) Lost()        { l <- "lost" }
func (listener) Beat(time.Time) {}

// open opens the transport of a gateway called g or of a worker called w.
func open(t *testing.T, l *Transport) (heard chan string) {
	t.Helper()
	heard = make(chan string, 10)
	if err := l.Open(listener(heard)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return heard
}

func TestTransport(t *testing.T) {
	t.Parallel()
	natstest.Each(t, func(t *testing.T, home *natstest.Home) {
		t.Helper()
		one, other := natstest.Connect(t, home), natstest.Connect(t, home)
		carries(t, one, other, 0, func(subject string) { natstest.AwaitInterest(t, home, subject) })
	})
}

func TestTransportOverTLS(t *testing.T) {
	t.Parallel()
	web := httptest.NewTLSServer(nil)
	web.Close()
	s := natstest.Start(t, &server.Options{TLS: true, TLSConfig: web.TLS})
	connect := func() *nats.Conn {
		nc, err := nats.Connect(s.ClientURL(), nats.Secure(web.Client().Transport.(*http.Transport).TLSClientConfig))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	carries(t, connect(), connect(), 3, func(string) {})
}

// carries sends bodies both ways, and one to nobody. The client library gets as many of the messages as given.
func carries(t *testing.T, one, other *nats.Conn, passed uint64, known func(subject string)) {
	t.Helper()
	s := subjects.For("example.com")
	g, w := Gateway(one, s, "g"), Worker(other, s, "m", "w")
	atGateway, atWorker := open(t, g), open(t, w)
	gateway, worker := flow.Address{Process: "m.g", Token: "0123456789abcdef-m"}, flow.Address{Process: "m.w", Token: "2"}
	known(s.GatewayStream(gateway.Process, subjects.Bulk, gateway.Token))
	known(s.WorkerStream(worker.Process, subjects.Bulk, worker.Token))
	for _, size := range []int{1, 40_000, 200_000} {
		send(t, w, gateway, "2", size)
		want(t, atGateway, fmt.Sprintf("0123456789abcdef-m from m.w, 2 on b: %d bytes", size))
		send(t, g, worker, gateway.Token, size)
		want(t, atWorker, fmt.Sprintf("2 from m.g, 0123456789abcdef-m on b: %d bytes", size))
	}
	for _, l := range []*Transport{g, w} {
		if got := l.bulk.Load().Stats().InMsgs; got != passed {
			t.Errorf("the library got %d messages, want %d", got, passed)
		}
	}
	send(t, g, flow.Address{Process: "m.gone", Token: "2"}, gateway.Token, 1)
	want(t, atGateway, "0123456789abcdef-m unheard by m.gone")
}

// TestSecondConnectionThatIsClosedForGoodIsMadeAnew has a connection closed as nats.go closes it after an error of the server that it
// does not know. The first one does not hear of that.
func TestSecondConnectionThatIsClosedForGoodIsMadeAnew(t *testing.T) {
	t.Parallel()
	home := natstest.InProcess(t)
	s := subjects.For("example.com")
	g, w := Gateway(natstest.Connect(t, home), s, "g"), Worker(natstest.Connect(t, home), s, "m", "w")
	atGateway, atWorker := open(t, g), open(t, w)
	gateway, worker := flow.Address{Process: "m.g", Token: "0123456789abcdef-m"}, flow.Address{Process: "m.w", Token: "2"}
	for _, l := range []*Transport{g, w} {
		closed := l.bulk.Load()
		closed.Close()
		waittest.Until(t, "there is another connection", func() bool { return l.bulk.Load() != closed })
	}
	natstest.AwaitInterest(t, home, s.GatewayStream(gateway.Process, subjects.Bulk, gateway.Token))
	send(t, w, gateway, "2", 1)
	wantBehindLosses(t, atGateway, "0123456789abcdef-m from m.w, 2 on b: 1 bytes")
	send(t, g, worker, gateway.Token, 1)
	wantBehindLosses(t, atWorker, "2 from m.g, 0123456789abcdef-m on b: 1 bytes")
}

// wantBehindLosses wants that streams are said to be lost, and after that something else.
func wantBehindLosses(t *testing.T, heard <-chan string, last string) {
	t.Helper()
	want(t, heard, "lost")
	got := "lost"
	for got == "lost" {
		select {
		case got = <-heard:
		case <-time.After(30 * time.Second):
			t.Fatalf("heard nothing more, want %s", last)
		}
	}
	if got != last {
		t.Errorf("heard %s, want %s", got, last)
	}
}

// TestStreamOfAGatewayIsOneModulesAlone has what a module may publish that knows the tokens of another one's streams.
func TestStreamOfAGatewayIsOneModulesAlone(t *testing.T) {
	t.Parallel()
	nc := natstest.Connect(t, natstest.InProcess(t))
	s := subjects.For("example.com")
	g := Gateway(nc, s, "g")
	heard, token := open(t, g), g.Token(webpath.Resource{Module: "gate"})
	worker := s.WorkerStream("gate.w", subjects.Control, "2")
	unheard := nats.Header{"Status": {"503"}, "Nats-Subject": {worker}}
	for _, m := range []*nats.Msg{
		{Subject: s.GatewayStream("mallory.g", subjects.Control, token), Data: []byte("x")},
		{Subject: s.GatewayStream("mallory.g", subjects.Control, token[:flow.TokenLen]), Data: []byte("x")},
		{Subject: s.GatewayStream("mallory.g", subjects.Control, token+"-mallory"), Reply: worker, Data: []byte("x")},
		{Subject: s.GatewayStream("mallory.g", subjects.Control, flow.ControlToken), Reply: worker, Data: []byte("x")},
		{Subject: s.GatewayStream("mallory.g", subjects.Control, flow.ControlToken), Header: unheard},
		{Subject: s.GatewayStream("mallory.g", subjects.Control, token), Header: unheard},
		{Subject: s.GatewayStream("mallory.g", subjects.Control, token), Header: nats.Header{wire.HeaderErrorCode: {"busy"}}},
		{Subject: s.GatewayStream("gate.g", subjects.Control, token), Reply: worker, Data: []byte("x")},
	} {
		if err := nc.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	want(t, heard, token+" from gate.w, 2 on c: 1 bytes")
}

func send(t *testing.T, l *Transport, to flow.Address, token string, size int) {
	t.Helper()
	if err := l.Send(flow.Bulk, to, token, make([]byte, size)); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, heard <-chan string, want string) {
	t.Helper()
	select {
	case got := <-heard:
		if got != want {
			t.Errorf("heard %s, want %s", got, want)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("heard nothing, want %s", want)
	}
}
