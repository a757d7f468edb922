package gateway_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/internal/tunnel/frame"
	"github.com/modulebus/modulebus/internal/tunnel/gateway"
)

func TestClientIsWhomTrustedProxiesName(t *testing.T) {
	t.Parallel()
	type header = map[string][]string
	tests := map[string]struct {
		from   string
		fields header
		addr   string // RemoteAddr
		want   [4]string
	}{
		"nobody between": {"203.0.113.9:5", nil, "203.0.113.9:5", [4]string{"203.0.113.9", "hs.example", "http", ""}},
		"who is not trusted is not believed": {
			"203.0.113.9:5",
			header{"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Host": {"evil"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Port": {"1"}, "Forwarded": {"for=1.2.3.4"}},
			"203.0.113.9:5",
			[4]string{"203.0.113.9", "hs.example", "http", ""},
		},
		"a proxy that says nothing": {"10.0.0.1:5", nil, "10.0.0.1:5", [4]string{"10.0.0.1", "hs.example", "http", ""}},
		"a proxy that replaces": {
			"10.0.0.1:5",
			header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Host": {"m.example:8443"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Port": {"8443"}},
			"203.0.113.9:0",
			[4]string{"203.0.113.9", "m.example:8443", "https", "8443"},
		},
		"a proxy that appends to what its client sent": {
			"10.0.0.1:5",
			header{"X-Forwarded-For": {"1.2.3.4, 203.0.113.9"}, "X-Forwarded-Host": {"evil, m.example"}, "X-Forwarded-Proto": {"http", "https"}},
			"203.0.113.9:0",
			[4]string{"203.0.113.9", "m.example", "https", ""},
		},
		"two proxies, each of which appends": {
			"10.0.0.1:5",
			header{"X-Forwarded-For": {"1.2.3.4", "203.0.113.9, 10.0.0.2"}, "X-Forwarded-Host": {"evil, m.example, inner"}, "X-Forwarded-Proto": {"https, http"}},
			"203.0.113.9:0",
			[4]string{"203.0.113.9", "m.example", "https", ""},
		},
		"a chain of proxies to its end":       {"10.0.0.1:5", header{"X-Forwarded-For": {"10.0.0.3, 10.0.0.2"}}, "10.0.0.3:0", [4]string{"10.0.0.3", "hs.example", "http", ""}},
		"an address with a port":              {"10.0.0.1:5", header{"X-Forwarded-For": {"[2001:db8::1]:443"}}, "[2001:db8::1]:443", [4]string{"2001:db8::1", "hs.example", "http", ""}},
		"an address of IPv6":                  {"[::ffff:10.0.0.1]:5", header{"X-Forwarded-For": {"2001:db8::1"}}, "[2001:db8::1]:0", [4]string{"2001:db8::1", "hs.example", "http", ""}},
		"an address of IPv4 in IPv6's form":   {"10.0.0.1:5", header{"X-Forwarded-For": {"::ffff:203.0.113.9"}}, "203.0.113.9:0", [4]string{"203.0.113.9", "hs.example", "http", ""}},
		"a proxy that speaks of a WebSocket":  {"10.0.0.1:5", header{"X-Forwarded-Proto": {"wss"}}, "10.0.0.1:5", [4]string{"10.0.0.1", "hs.example", "https", ""}},
		"a proxy that shouts":                 {"10.0.0.1:5", header{"X-Forwarded-Proto": {"HTTPS"}}, "10.0.0.1:5", [4]string{"10.0.0.1", "hs.example", "https", ""}},
		"a proxy at a link-local address":     {"[fe80::1%eth0]:5", header{"X-Forwarded-For": {"203.0.113.9"}}, "203.0.113.9:0", [4]string{"203.0.113.9", "hs.example", "http", ""}},
		"what is no address ends the chain":   {"10.0.0.1:5", header{"X-Forwarded-For": {"1.2.3.4, unknown"}}, "10.0.0.1:5", [4]string{"10.0.0.1", "hs.example", "http", ""}},
		"Forwarded is nobody's word":          {"10.0.0.1:5", header{"Forwarded": {"for=1.2.3.4"}}, "10.0.0.1:5", [4]string{"10.0.0.1", "hs.example", "http", ""}},
		"empty elements do not count as hops": {"10.0.0.1:5", header{"X-Forwarded-For": {"1.2.3.4,, 203.0.113.9,"}}, "203.0.113.9:0", [4]string{"203.0.113.9", "hs.example", "http", ""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked *frame.Request
			g := script(gateway.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}}, func(_ *gateway.Gateway, _ string, raw []byte) error {
				f, err := frame.Decode(raw)
				asked, _ = f.(*frame.Request)
				if err != nil {
					t.Error(err)
				}
				return gateway.ErrAbsent
			})
			r := httptest.NewRequest(http.MethodGet, "http://hs.example/", nil)
			r.RemoteAddr = tt.from
			maps.Copy(r.Header, tt.fields)
			g.ServeHTTP(httptest.NewRecorder(), r)
			h := frame.HeaderOf(asked.Fields)
			got := [4]string{h.Get("X-Forwarded-For"), h.Get("X-Forwarded-Host"), h.Get("X-Forwarded-Proto"), h.Get("X-Forwarded-Port")}
			if diff := cmp.Diff(tt.want, got); diff != "" || asked.RemoteAddr != tt.addr || asked.Scheme != got[2] || h["Forwarded"] != nil {
				t.Errorf("%s from %s, Forwarded %q:\n%s", asked.Scheme, asked.RemoteAddr, h["Forwarded"], diff)
			}
			for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if len(h[name]) != 1 {
					t.Errorf("%s: %q", name, h[name])
				}
			}
		})
	}
}
