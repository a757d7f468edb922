package gateway

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/modulebus/modulebus/internal/proxied"
	"github.com/modulebus/modulebus/internal/tunnel/frame"
)

// resolve sets the client's address and scheme in the head: RemoteAddr, Scheme and the fields X-Forwarded-For, -Host
// and -Proto, one of each.
//
// A trusted proxy is believed about the hop before it; for what it does not say, the gateway uses what it saw itself.
// The fields are lists to which each proxy appends, so they are read from the right, as far as the addresses are those
// of trusted proxies; any client may have written what is left of that. A proxy that is not trusted counts as the
// client, and its X-Forwarded-* fields are dropped. Forwarded (RFC 7239) is always dropped, because most proxies pass
// on what their client sends under it.
func resolve(head *frame.Request, trusted []netip.Prefix) {
	hops := origin(head, trusted)
	said := claims{fields: head.Fields, hops: hops}
	host, proto := said.of("X-Forwarded-Host", head.Authority), schemeOf(said.of("X-Forwarded-Proto", head.Scheme))
	if proto == "http" || proto == "https" {
		head.Scheme = proto
	}
	head.Fields = slices.DeleteFunc(head.Fields, func(f frame.Field) bool {
		resolved := f.Name == "X-Forwarded-For" || f.Name == "X-Forwarded-Host" || f.Name == "X-Forwarded-Proto"
		return f.Name == "Forwarded" || resolved || hops == 0 && strings.HasPrefix(f.Name, "X-Forwarded-")
	})
	add := func(name, value string) { head.Fields = append(head.Fields, frame.Field{Name: name, Value: value}) }
	add("X-Forwarded-Host", host)
	add("X-Forwarded-Proto", proto)
	if from, err := netip.ParseAddrPort(head.RemoteAddr); err == nil {
		add("X-Forwarded-For", hostOf(from, head.RemoteAddr))
	}
}

// hostOf returns an address without its port, which has the text. That of an IPv4 address is the beginning of the text.
func hostOf(from netip.AddrPort, text string) string {
	if from.Addr().Is4() {
		return text[:strings.LastIndexByte(text, ':')]
	}
	return from.Addr().Unmap().String()
}

// schemeOf returns http or https for a proxy's word for the scheme: Traefik says ws and wss for a WebSocket.
func schemeOf(said string) string {
	switch said = strings.ToLower(said); said {
	case "ws":
		return "http"
	case "wss":
		return "https"
	}
	return said
}

// origin sets RemoteAddr to the last address that a trusted proxy names, and returns how many proxies are in between.
func origin(head *frame.Request, trusted []netip.Prefix) (hops int) {
	from, err := netip.ParseAddrPort(head.RemoteAddr)
	if err != nil || len(trusted) == 0 {
		return 0
	}
	from, hops = proxied.Origin(from, values(head.Fields, "X-Forwarded-For"), trusted)
	head.RemoteAddr = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()).String()
	return hops
}

// claims is what proxies say about a request.
type claims struct {
	fields []frame.Field
	hops   int // how many of the proxies are trusted
}

// of returns what the farthest trusted proxy says in the field, or else what was seen.
func (c claims) of(name, seen string) string {
	if c.hops == 0 {
		return seen
	}
	if said := values(c.fields, name); len(said) > 0 {
		return said[max(0, len(said)-c.hops)]
	}
	return seen
}

// values lists the elements of all fields with the name.
func values(fields []frame.Field, name string) (list []string) {
	for _, f := range fields {
		if f.Name == name {
			list = append(list, listed([]string{f.Value})...)
		}
	}
	return list
}
