package policyserver

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/matrix-org/gomatrixserverlib/spec"
)

const (
	federationPort = 8448

	// maxPlaces is how many possible places of a server are tried. Beyond: they are not.
	maxPlaces = 4
)

// place is a possible place of a server: an address to connect to, and the server's name there.
type place struct{ address, host string }

// client returns a client whose connections expect a certificate for the place's name, which differs from the address
// if a SRV record led there.
func (p place) client(c *http.Client) *http.Client {
	name, _, err := net.SplitHostPort(p.host)
	if err != nil {
		name = p.host
	}
	at, _, _ := net.SplitHostPort(p.address)
	if name = strings.Trim(name, "[]"); name == at {
		return c
	}
	t := c.Transport.(*http.Transport).Clone()
	t.TLSClientConfig.ServerName, t.DisableKeepAlives = name, true
	return &http.Client{Transport: t, CheckRedirect: c.CheckRedirect}
}

// find resolves a server name as the specification says: server-server API, "Resolving server names".
func (n *network) find(ctx context.Context, server spec.ServerName) ([]place, error) {
	host, port, ok := spec.ParseAndValidateServerName(server)
	if !ok {
		return nil, errors.New("it is no server name")
	}
	if literal(host) || port > 0 {
		return []place{at(host, port, string(server))}, nil
	}
	delegated := spec.ServerName(n.wellKnown(ctx, host))
	if h, p, ok := spec.ParseAndValidateServerName(delegated); ok {
		host, port, server = h, p, delegated
		if literal(host) || port > 0 {
			return []place{at(host, port, string(server))}, nil
		}
	}
	for _, service := range []string{"matrix-fed", "matrix"} {
		if places := n.records(ctx, service, host); len(places) > 0 {
			return places, nil
		}
	}
	return []place{at(host, federationPort, string(server))}, nil
}

func literal(host string) bool {
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

func at(host string, port int, name string) place {
	if port <= 0 {
		port = federationPort
	}
	return place{net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port)), name}
}

// wellKnown returns the server name that the host delegates to; empty if it names none.
func (n *network) wellKnown(ctx context.Context, host string) string {
	var said struct {
		Server string `json:"m.server"`
	}
	_ = get(ctx, &n.far, "https://"+host+"/.well-known/matrix/server", "", &said) // If it fails, the host names none.
	return said.Server
}

func (n *network) records(ctx context.Context, service, host string) (places []place) {
	_, found, err := n.resolver.LookupSRV(ctx, service, "tcp", host)
	if err != nil {
		return nil
	}
	for _, r := range found[:min(len(found), maxPlaces)] {
		places = append(places, at(strings.TrimSuffix(r.Target, "."), int(r.Port), host))
	}
	return places
}
