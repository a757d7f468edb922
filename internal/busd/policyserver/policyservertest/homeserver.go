// Package policyservertest simulates homeservers of a federation, for tests and benchmarks of a policy server: they
// have keys, sign events, and ask about them. It uses the Matrix library, and nothing of the policy server's own code.
//
//	home := policyservertest.New("remote.example")
//	body := policyservertest.Message("@alice:remote.example", "!room:remote.example", "hello").Hashed().SignedBy(home, "11")
//	header := home.Authorization(http.MethodPost, "/_matrix/policy/v1/sign", "policy.example", body)
package policyservertest

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
)

// Homeserver is one of the federation: a name and a key.
type Homeserver struct {
	Name  string
	KeyID gomatrixserverlib.KeyID
	Key   ed25519.PrivateKey
}

// New returns the homeserver of that name. Its key follows from the name.
func New(name string) Homeserver {
	return Homeserver{name, "ed25519:a_1", ed25519.NewKeyFromSeed(fmt.Appendf(nil, "%-32.32s", name))}
}

// Publishes returns the keys that the homeserver publishes, valid for the given time from now on.
func (h Homeserver) Publishes(valid time.Duration) (keys gomatrixserverlib.ServerKeys) {
	body := marshal(map[string]any{
		"server_name": h.Name, "valid_until_ts": time.Now().Add(valid).UnixMilli(), "old_verify_keys": map[string]any{},
		"verify_keys": map[string]any{string(h.KeyID): map[string]any{"key": spec.Base64Bytes(h.Key.Public().(ed25519.PublicKey))}},
	})
	signed, err := gomatrixserverlib.SignJSON(h.Name, h.KeyID, h.Key, body)
	if err == nil {
		err = json.Unmarshal(signed, &keys)
	}
	return must(keys, err)
}

// Authorization is the header of a request by the homeserver. A body that is no JSON can be signed by nobody: then the
// signature is one over nothing.
func (h Homeserver) Authorization(method, uri, destination string, body []byte) string {
	content := json.RawMessage(body)
	if !json.Valid(body) {
		content = json.RawMessage("{}")
	}
	signed, err := gomatrixserverlib.SignJSON(h.Name, h.KeyID, h.Key, marshal(map[string]any{
		"method": method, "uri": uri, "origin": h.Name, "destination": destination, "content": content,
	}))
	if err != nil {
		signed = must(gomatrixserverlib.SignJSON(h.Name, h.KeyID, h.Key, []byte("{}")))
	}
	return fmt.Sprintf("X-Matrix origin=%q,key=%q,sig=%q,destination=%q", h.Name, h.KeyID, h.signature(signed), destination)
}

// signature is the homeserver's in a signed object.
func (h Homeserver) signature(signed []byte) string {
	var object struct {
		Signatures map[string]map[gomatrixserverlib.KeyID]string `json:"signatures"`
	}
	_ = json.Unmarshal(signed, &object) // The library made it.
	return object.Signatures[h.Name][h.KeyID]
}

func marshal(v any) []byte { return must(json.Marshal(v)) }

// must is for what cannot fail: the library signs what it was made for. Otherwise it panics, as a test helper does.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err) //nolint:forbidigo // only tests and benchmarks call this, and nothing they pass can make it fail
	}
	return v
}
