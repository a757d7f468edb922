package policyservertest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
)

// Event is an event's fields, to be changed before it is signed.
type Event map[string]any

// Message is a message of now.
func Message(sender, room, text string) Event {
	return Event{
		"type": "m.room.message", "sender": sender, "room_id": room, "content": map[string]any{"body": text, "msgtype": "m.text"},
		"origin_server_ts": time.Now().UnixMilli(), "depth": 7, "prev_events": []any{"$prev"}, "auth_events": []any{"$auth"},
	}
}

// With is the event with another value for a field, or without the field where the value is nil.
func (e Event) With(name string, value any) Event {
	out := maps.Clone(e)
	if out[name] = value; value == nil {
		delete(out, name)
	}
	return out
}

// Hashed is the event with its content's hash.
func (e Event) Hashed() Event {
	raw := must(gomatrixserverlib.CanonicalJSON(marshal(e.With("unsigned", nil))))
	return e.With("hashes", map[string]any{"sha256": Hash(raw)})
}

// Hash is the SHA-256 of some bytes in unpadded base64.
func Hash(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawStdEncoding.EncodeToString(sum[:])
}

// SignedBy is the event as a homeserver sends it. In a room version that nobody knows, and where there is nothing that can be
// signed, it is without a signature.
func (e Event) SignedBy(h Homeserver, version string) []byte {
	raw := marshal(e)
	v, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(version))
	if err != nil {
		return raw
	}
	redacted, err := v.RedactEventJSON(raw)
	if err != nil {
		return raw
	}
	signed, err := gomatrixserverlib.SignJSON(h.Name, h.KeyID, h.Key, redacted)
	if err != nil {
		return raw
	}
	var out struct {
		Signatures json.RawMessage `json:"signatures"`
	}
	_ = json.Unmarshal(signed, &out) // The library made it.
	return marshal(e.With("signatures", out.Signatures))
}
