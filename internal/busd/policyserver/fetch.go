package policyserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
)

const (
	// maxKeysBody is the size of a server's answer with keys in bytes. Beyond: fetching the keys has failed.
	maxKeysBody = 64 << 10

	// maxKeysHeader is the size of the header of a server's answer with keys in bytes. Beyond: fetching the keys has failed.
	maxKeysHeader = 16 << 10

	dialTime  = 5 * time.Second
	idleTime  = time.Minute
	idleConns = 16

	keyPath   = "/_matrix/key/v2/server"
	queryPath = "/_matrix/key/v2/query"
)

var errPrivate = errors.New("the server is on a network that is not public")

// network fetches servers' keys: from the homeserver, which fetches those of others as a notary, or else from the
// server itself, which is resolved as the specification says.
type network struct {
	own        string // the server name
	homeserver string // its URL for /_matrix/key; empty for none
	near       http.Client
	far        http.Client
	resolver   net.Resolver
}

// newNetwork returns a network that connects only to public addresses, and to the homeserver. If the server's own name
// is on this machine, it connects to this machine instead, and does not check certificates there, because nobody is in
// between.
func newNetwork(own, homeserver string) *network {
	n := &network{own: own, homeserver: homeserver}
	n.near = http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: idleConns, IdleConnTimeout: idleTime}, CheckRedirect: stay}
	local := isLocal(own)
	dialer := &net.Dialer{Timeout: dialTime, ControlContext: public(local)}
	n.far = http.Client{CheckRedirect: stay, Transport: &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: dialTime, IdleConnTimeout: idleTime, MaxIdleConns: idleConns,
		MaxResponseHeaderBytes: maxKeysHeader,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: local}, //nolint:gosec // On this machine alone: see above.
	}}
	return n
}

// stay makes a client follow no redirects: federation has none.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// isLocal reports whether a server name is on this machine, as in tests, where the other servers are too.
func isLocal(server string) bool {
	host, _, _ := spec.ParseAndValidateServerName(spec.ServerName(server))
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// public returns a check that allows connections to public addresses only; or, if local, to this machine only.
func public(local bool) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if ip := at.Addr().Unmap(); local && !ip.IsLoopback() || !local && !isPublic(ip) {
			return errPrivate
		}
		return nil
	}
}

// reserved are networks that are not public, besides those that netip knows (RFC 6890, RFC 8215).
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("fec0::/10"),
}

func isPublic(ip netip.Addr) bool {
	if !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return false
	}
	for _, r := range reserved {
		if r.Contains(ip) {
			return false
		}
	}
	return true
}

func (n *network) close() {
	n.near.CloseIdleConnections()
	n.far.CloseIdleConnections()
}

// Fetch implements [Fetcher].
func (n *network) Fetch(ctx context.Context, server string) (keys gomatrixserverlib.ServerKeys, err error) {
	if n.homeserver != "" {
		if keys, err = n.ask(ctx, server); err == nil {
			return keys, nil
		}
	}
	direct, otherwise := n.direct(ctx, server)
	if otherwise != nil {
		return keys, errors.Join(err, otherwise)
	}
	return direct, nil
}

// ask asks the homeserver for the keys that it knows or can fetch.
func (n *network) ask(ctx context.Context, server string) (keys gomatrixserverlib.ServerKeys, err error) {
	if server == n.own {
		err = get(ctx, &n.near, n.homeserver+keyPath, "", &keys)
		return keys, err
	}
	query, _ := json.Marshal(map[string]any{"server_keys": map[string]any{server: map[string]any{}}}) // It is made of strings.
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, n.homeserver+queryPath, bytes.NewReader(query))
	if err != nil {
		return keys, err
	}
	r.Header.Set("Content-Type", "application/json")
	var all struct {
		ServerKeys []gomatrixserverlib.ServerKeys `json:"server_keys"`
	}
	if err := do(&n.near, r, &all); err != nil {
		return keys, err
	}
	return newest(all.ServerKeys)
}

// newest returns the keys that are valid longest: a notary may return old answers, too.
func newest(all []gomatrixserverlib.ServerKeys) (keys gomatrixserverlib.ServerKeys, err error) {
	if len(all) == 0 {
		return keys, errors.New("the homeserver does not know the server's keys")
	}
	for _, k := range all {
		if k.ValidUntilTS >= keys.ValidUntilTS {
			keys = k
		}
	}
	return keys, nil
}

// direct asks the server itself, at each of its possible places.
func (n *network) direct(ctx context.Context, server string) (keys gomatrixserverlib.ServerKeys, err error) {
	places, err := n.find(ctx, spec.ServerName(server))
	if err != nil {
		return keys, err
	}
	for _, p := range places {
		var found gomatrixserverlib.ServerKeys
		if err = get(ctx, p.client(&n.far), "https://"+p.address+keyPath, p.host, &found); err == nil {
			return found, nil
		}
	}
	return keys, err
}

func get(ctx context.Context, c *http.Client, url, host string, out any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	r.Host = host
	return do(c, r, out)
}

func do(c *http.Client, r *http.Request, out any) error {
	rsp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer rsp.Body.Close()
	if rsp.StatusCode != http.StatusOK {
		return fmt.Errorf("got status %d", rsp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(rsp.Body, maxKeysBody+1))
	switch {
	case err != nil:
		return err
	case len(body) > maxKeysBody:
		return fmt.Errorf("got more than %d bytes", maxKeysBody)
	}
	return json.Unmarshal(body, out)
}
