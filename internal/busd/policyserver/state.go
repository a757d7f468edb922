package policyserver

import "encoding/json"

// publicKeys is the public half in the form that the specification uses in several places.
func (k Key) publicKeys() map[string]string { return map[string]string{algorithm: k.Public()} }

// StateEvent returns the event that makes a room's servers ask this policy server, as indented JSON.
func StateEvent(server string, k Key) ([]byte, error) {
	type content struct {
		Via        string            `json:"via"`
		PublicKeys map[string]string `json:"public_keys"`
	}
	return json.MarshalIndent(struct {
		Type     string  `json:"type"`
		StateKey string  `json:"state_key"`
		Content  content `json:"content"`
	}{policyTypes[0], "", content{server, k.publicKeys()}}, "", "  ")
}
