package policyserver

import "encoding/json"

// publicKeys are the key's public half, as the specification has it in several places.
func (k Key) publicKeys() map[string]string { return map[string]string{algorithm: k.Public()} }

// StateEvent is the event to send into a room, so that its servers ask this policy server: indented JSON.
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
