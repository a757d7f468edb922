package proxied_test

import (
	"net/netip"
	"testing"

	"github.com/modulebus/modulebus/internal/proxied"
)

func TestOriginIsTheLastAddressThatATrustedProxyNames(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8")}
	for _, c := range []struct {
		from      string
		forwarded []string
		want      string
		hops      int
	}{
		{"203.0.113.7:1", []string{"198.51.100.1"}, "203.0.113.7:1", 0},
		{"127.0.0.1:1", []string{"198.51.100.1"}, "198.51.100.1:0", 1},
		{"127.0.0.1:1", []string{"198.51.100.9", "198.51.100.1"}, "198.51.100.1:0", 1},
		{"127.0.0.1:1", []string{"198.51.100.1", "10.0.0.7"}, "198.51.100.1:0", 2},
		{"127.0.0.1:1", []string{"nonsense"}, "127.0.0.1:1", 1},
		{"127.0.0.1:1", nil, "127.0.0.1:1", 1},
		{"[::ffff:10.0.0.1]:1", []string{"[2001:db8::1]:8"}, "[2001:db8::1]:8", 1},
	} {
		got, hops := proxied.Origin(netip.MustParseAddrPort(c.from), c.forwarded, trusted)
		if got.String() != c.want || hops != c.hops {
			t.Errorf("%s, %q: %v after %d, want %s after %d", c.from, c.forwarded, got, hops, c.want, c.hops)
		}
	}
}
