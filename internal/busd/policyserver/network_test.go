package policyserver

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/matrix-org/gomatrixserverlib"

	"github.com/modulebus/modulebus/internal/busd/policyserver/policyservertest"
)

func TestNetworkIsThePublicOne(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1": true, "127.0.0.1": false, "10.0.0.1": false, "192.168.1.1": false, "172.16.0.1": false,
		"169.254.169.254": false, "100.64.0.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false,
		"::1": false, "::": false, "fe80::1": false, "fc00::1": false, "64:ff9b::7f00:1": false, "2002:7f00:1::": false, "ff02::1": false,
	} {
		if got := isPublic(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: got %v", address, got)
		}
	}
	for server, want := range map[string]bool{
		"localhost": true, "localhost:8448": true, "127.0.0.1:1": true, "[::1]:8448": true, "example.com": false, "localhost.example.com": false,
		"10.0.0.1": false, "": false,
	} {
		if got := isLocal(server); got != want {
			t.Errorf("%q: got %v", server, got)
		}
	}
}

// keyServer answers as the server of its address, or as somebody else.
func keyServer(t *testing.T, answer func(*httptest.Server, http.ResponseWriter, *http.Request)) (name string) {
	t.Helper()
	var s *httptest.Server
	s = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(s, w, r) }))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "https://")
}

func TestNetworkFetchesKeysOfTheServerItself(t *testing.T) {
	t.Parallel()
	n := newNetwork("localhost", "")
	defer n.close()
	name := keyServer(t, func(s *httptest.Server, w http.ResponseWriter, r *http.Request) {
		host := strings.TrimPrefix(s.URL, "https://")
		if r.URL.Path != keyPath || r.Host != host {
			t.Errorf("asked %s for %s", r.Host, r.URL)
		}
		_ = json.NewEncoder(w).Encode(policyservertest.New(host).Publishes(time.Hour))
	})
	keys, err := n.Fetch(t.Context(), name)
	if checked(name, keys, err, time.Now()).err != nil {
		t.Errorf("got %+v, %v", keys, err)
	}
	if checked("other.example", keys, err, time.Now()).err == nil {
		t.Error("they pass for another server's")
	}
}

func TestNetworkReachesNothingThatIsNotPublic(t *testing.T) {
	t.Parallel()
	n := newNetwork("public.example", "")
	defer n.close()
	name := keyServer(t, func(_ *httptest.Server, _ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) })
	if _, err := n.Fetch(t.Context(), name); !errors.Is(err, errPrivate) {
		t.Errorf("got %v", err)
	}
	for _, address := range []string{"[::ffff:127.0.0.1]:8448", "[::ffff:10.0.0.1]:8448", "[::ffff:100.64.0.1]:8448", "100.64.0.1:8448", "198.18.0.1:8448", "[64:ff9b::a00:1]:8448", "no address"} {
		if public(false)(t.Context(), "tcp", address, nil) == nil {
			t.Errorf("%s may be connected to", address)
		}
	}
}

func TestNetworkTakesNoRedirectAndNoFlood(t *testing.T) {
	t.Parallel()
	n := newNetwork("localhost", "")
	defer n.close()
	inner := keyServer(t, func(_ *httptest.Server, _ http.ResponseWriter, r *http.Request) { t.Errorf("led to %s", r.URL) })
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://"+inner+"/secret", http.StatusFound)
		},
		"flood": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(" ", maxKeysBody)+"{}")
		},
		"endless flood": func(w http.ResponseWriter, _ *http.Request) {
			piece := strings.Repeat(" ", maxKeysBody)
			for range 1024 {
				if _, err := io.WriteString(w, piece); err != nil {
					return
				}
			}
			t.Error("a whole flood was read")
		},
		"header": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("x", 2*maxKeysHeader))
			_ = json.NewEncoder(w).Encode(policyservertest.New(r.Host).Publishes(time.Hour))
		},
		"no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") },
	} {
		server := keyServer(t, func(_ *httptest.Server, w http.ResponseWriter, r *http.Request) { answer(w, r) })
		if keys, err := n.Fetch(t.Context(), server); err == nil {
			t.Errorf("%s: got %+v", name, keys)
		}
	}
}

// TestHomeserverLeadsNowhereElse has a homeserver, or what stands before it, redirect the request for another server's keys.
func TestHomeserverLeadsNowhereElse(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("led to %s", r.URL) }))
	defer elsewhere.Close()
	home := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer home.Close()
	n := newNetwork(own, home.URL)
	defer n.close()
	if keys, err := n.ask(t.Context(), remote); err == nil {
		t.Errorf("got %+v", keys)
	}
}

func TestNetworkAsksTheHomeserverFirst(t *testing.T) {
	t.Parallel()
	old, now := policyservertest.New(remote).Publishes(time.Minute), policyservertest.New(remote).Publishes(time.Hour)
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Method == http.MethodGet && r.URL.Path == keyPath:
			_ = json.NewEncoder(w).Encode(policyservertest.New(own).Publishes(time.Hour))
		case r.Method == http.MethodPost && r.URL.Path == queryPath && string(body) == `{"server_keys":{"`+remote+`":{}}}`:
			_ = json.NewEncoder(w).Encode(map[string]any{"server_keys": []gomatrixserverlib.ServerKeys{now, old}})
		default:
			t.Errorf("%s %s %s", r.Method, r.URL, body)
		}
	}))
	defer home.Close()
	n := newNetwork(own, home.URL)
	defer n.close()
	for _, name := range []string{own, remote} {
		keys, err := n.Fetch(t.Context(), name)
		if k := checked(name, keys, err, time.Now()); k.err != nil || time.Until(k.ValidUntilTS.Time()) < 30*time.Minute {
			t.Errorf("%s: got %+v, %v", name, keys, err)
		}
	}
}
