package policyserver

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/modulebus/modulebus/internal/busd/policyserver/policyservertest"
)

// internet is where every host is the same web server. It has the names' SRV records, as "target:port", and what hosts say
// under /.well-known/matrix/server, and it keeps how it was asked for keys.
type internet struct {
	t         *testing.T
	web       *httptest.Server
	records   map[string][]string
	wellKnown map[string]string
	down      map[string]bool // addresses

	mu     sync.Mutex
	dialed string
	asked  []string // address, Host, and name of the certificate
}

// newInternet returns one, and the network that a policy server reaches it through.
func newInternet(t *testing.T) (*internet, *network) {
	t.Helper()
	i := &internet{t: t, records: map[string][]string{}, wellKnown: map[string]string{}, down: map[string]bool{}}
	i.web = httptest.NewTLSServer(i)
	t.Cleanup(i.web.Close)
	n := newNetwork("localhost", "")
	t.Cleanup(n.close)
	far := n.far.Transport.(*http.Transport)
	far.DialContext, far.DisableKeepAlives = i.dial, true
	n.resolver = net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		near, there := net.Pipe()
		go i.resolve(there)
		return near, nil
	}}
	return i, n
}

func (i *internet) dial(ctx context.Context, network, address string) (net.Conn, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.down[address] {
		return nil, errors.New("nobody is there")
	}
	i.dialed = address
	return (&net.Dialer{}).DialContext(ctx, network, i.web.Listener.Addr().String())
}

// ServeHTTP implements [http.Handler].
func (i *internet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch said, ok := i.wellKnown[r.Host]; {
	case r.URL.Path == keyPath:
		i.asked = append(i.asked, fmt.Sprintf("%s as %s, %s", i.dialed, r.Host, r.TLS.ServerName))
		_ = json.NewEncoder(w).Encode(policyservertest.New(r.Host).Publishes(time.Hour))
	case r.URL.Path == "/.well-known/matrix/server" && ok:
		_, _ = io.WriteString(w, said)
	default:
		http.NotFound(w, r)
	}
}

// resolve answers questions for SRV records, as DNS does over TCP.
func (i *internet) resolve(c net.Conn) {
	defer c.Close()
	for {
		var length uint16
		if binary.Read(c, binary.BigEndian, &length) != nil {
			return
		}
		question := make([]byte, length)
		if _, err := io.ReadFull(c, question); err != nil {
			return
		}
		answer := i.answer(question)
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

func (i *internet) answer(question []byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		i.t.Error(err)
		return nil
	}
	name := m.Questions[0].Name
	m.Response, m.Additionals = true, nil
	if m.RCode = dnsmessage.RCodeNameError; len(i.records[name.String()]) > 0 {
		m.RCode = dnsmessage.RCodeSuccess
	}
	for priority, at := range i.records[name.String()] {
		target, port, _ := strings.Cut(at, ":")
		record := &dnsmessage.SRVResource{Priority: uint16(priority), Target: dnsmessage.MustNewName(target + ".")}
		_, _ = fmt.Sscan(port, &record.Port) // It is a number.
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: name, Type: dnsmessage.TypeSRV, Class: dnsmessage.ClassINET}, Body: record,
		})
	}
	packed, err := m.Pack()
	if err != nil {
		i.t.Error(err)
	}
	return packed
}

// TestNetworkFindsServersAsTheSpecificationDoes has a server for each of its steps.
func TestNetworkFindsServersAsTheSpecificationDoes(t *testing.T) {
	t.Parallel()
	const noPort, withPort, literal, nobody = `{"m.server": "srv.example"}`, `{"m.server": "there.example:443"}`, `{"m.server": "192.0.2.7"}`, `{"m.server": "///"}`
	for server, want := range map[string]string{
		"192.0.2.1":          "192.0.2.1:8448 as 192.0.2.1, ",
		"192.0.2.1:99":       "192.0.2.1:99 as 192.0.2.1:99, ",
		"[2001:db8::1]":      "[2001:db8::1]:8448 as [2001:db8::1], ",
		"[2001:db8::1]:99":   "[2001:db8::1]:99 as [2001:db8::1]:99, ",
		"port.example:99":    "port.example:99 as port.example:99, port.example",
		"plain.example":      "plain.example:8448 as plain.example, plain.example",
		"to-port.example":    "there.example:443 as there.example:443, there.example",
		"to-literal.example": "192.0.2.7:8448 as 192.0.2.7, ",
		"to-srv.example":     "target.example:5555 as srv.example, srv.example",
		"to-nobody.example":  "to-nobody.example:8448 as to-nobody.example, to-nobody.example",
		"to-html.example":    "to-html.example:8448 as to-html.example, to-html.example",
		"srv.example":        "target.example:5555 as srv.example, srv.example",
		"old.example":        "old-target.example:6666 as old.example, old.example",
		"second.example":     "up.example:2 as second.example, second.example",
	} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			i, n := newInternet(t)
			i.wellKnown = map[string]string{
				"to-port.example": withPort, "to-literal.example": literal, "to-srv.example": noPort, "to-nobody.example": nobody, "to-html.example": "<html>",
			}
			i.records = map[string][]string{
				"_matrix-fed._tcp.srv.example.":    {"target.example:5555"},
				"_matrix._tcp.old.example.":        {"old-target.example:6666"},
				"_matrix-fed._tcp.second.example.": {"down.example:1", "up.example:2"},
			}
			i.down["down.example:1"] = true
			if _, err := n.Fetch(t.Context(), server); err != nil || !slices.Equal(i.asked, []string{want}) {
				t.Errorf("asked %q, %v, want %q", i.asked, err, want)
			}
		})
	}
}

func TestNetworkSaysWhyThereAreNoKeys(t *testing.T) {
	t.Parallel()
	i, n := newInternet(t)
	i.down["down.example:8448"] = true
	for server, want := range map[string]string{"": "it is no server name", "a b": "it is no server name", "down.example": "nobody is there"} {
		if _, err := n.Fetch(t.Context(), server); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", server, err, want)
		}
	}
}

func TestNetworkAsksTheServerWhereTheHomeserverDoesNotKnow(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{"nothing": `{"server_keys":[]}`, "HTML": `<html>`, "an error": ``} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if answer == "" {
					w.WriteHeader(http.StatusBadGateway)
				}
				_, _ = io.WriteString(w, answer)
			}))
			defer home.Close()
			i, n := newInternet(t)
			n.homeserver = home.URL
			if _, err := n.Fetch(t.Context(), "plain.example"); err != nil || len(i.asked) != 1 {
				t.Errorf("asked %q, %v", i.asked, err)
			}
			i.down["plain.example:8448"] = true
			if _, err := n.Fetch(t.Context(), "plain.example"); err == nil || !strings.Contains(err.Error(), "nobody is there") {
				t.Errorf("got %v", err)
			}
			n.near.CloseIdleConnections()
		})
	}
}
