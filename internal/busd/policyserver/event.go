package policyserver

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
)

// maxEvent is the size of an event in bytes of canonical JSON, without unsigned. Beyond: refused.
const maxEvent = 65536

// keysOfEvents are those that some room version gives a meaning to. Readers of JSON differ in which of Type and type they take.
var keysOfEvents = []string{
	"auth_events", "content", "depth", "event_id", "hashes", "membership", "origin", "origin_server_ts", "prev_events", "prev_state",
	"redacts", "room_id", "sender", "signatures", "state_key", "type", "unsigned",
}

// envelope is what is read of an event before its room version is known.
type envelope struct {
	roomID, kind string
	stateKey     *string
	version      string // that a create event says
}

// open reads an event as far as that is the same in all room versions.
func open(body []byte) (envelope, error) {
	fields, err := topLevel(body)
	if err != nil {
		return envelope{}, err
	}
	var e envelope
	for name, dst := range map[string]any{"room_id": &e.roomID, "type": &e.kind, "state_key": &e.stateKey} {
		if raw, ok := fields[name]; ok && json.Unmarshal(raw, dst) != nil {
			return envelope{}, fmt.Errorf("%s is not text", name)
		}
	}
	if content := bytes.TrimSpace(fields["content"]); len(content) == 0 || content[0] != '{' {
		return envelope{}, errors.New("content is not an object")
	}
	if e.kind == "" {
		return envelope{}, errors.New("there is no type")
	}
	if e.roomID == "" && e.creates() {
		var content map[string]json.RawMessage
		_ = json.Unmarshal(fields["content"], &content)         // It is an object.
		_ = json.Unmarshal(content["room_version"], &e.version) // Empty is of no use, either.
	} else if !strings.HasPrefix(e.roomID, "!") || len(e.roomID) > 255 {
		return envelope{}, errors.New("room_id is not that of a room")
	}
	return e, nil
}

func (e envelope) creates() bool {
	return e.kind == "m.room.create" && e.stateKey != nil && *e.stateKey == ""
}

// topLevel reads an object, each of whose keys is there once and spelled as it should be.
func topLevel(body []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') || !utf8.Valid(body) {
		return nil, errors.New("it is not a JSON object")
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		name, _ := t.(string)
		var raw json.RawMessage
		if err != nil || d.Decode(&raw) != nil {
			return nil, errors.New("it is not a JSON object")
		}
		if _, twice := fields[name]; twice || misspelled(name) {
			return nil, errors.New("a key is there twice, or in other letters than it should be")
		}
		fields[name] = raw
	}
	if _, err := d.Token(); err != nil || len(bytes.TrimSpace(body[d.InputOffset():])) > 0 {
		return nil, errors.New("it is not a JSON object")
	}
	return fields, nil
}

func misspelled(name string) bool {
	return slices.ContainsFunc(keysOfEvents, func(known string) bool { return name != known && strings.EqualFold(name, known) })
}

// event is one that is what it says it is, but for its sender's signature.
type event struct {
	id, roomID, sender string // sender is the server's name
	version            gomatrixserverlib.RoomVersion
	ts                 spec.Timestamp
	json               []byte // canonical, without unsigned
	redacted           signable
	isPolicy           bool // it names the room's policy server
}

// parse reads an event of a room version. Whatever the library makes of it, it does not panic.
func parse(body []byte, version string) (e *event, err error) {
	defer func() {
		if p := recover(); p != nil {
			e, err = nil, errors.New("the event cannot be read")
		}
	}()
	v, err := gomatrixserverlib.GetRoomVersion(gomatrixserverlib.RoomVersion(version))
	if err != nil || !v.Stable() {
		return nil, fmt.Errorf("room version %.20q is not known here", version)
	}
	pdu, err := v.NewEventFromUntrustedJSON(bytes.Clone(body))
	switch {
	case err != nil:
		return nil, errors.New("the event is not one of its room version: " + short(err.Error()))
	case pdu.Redacted():
		return nil, errors.New("the event's content is not what its hash says")
	case len(pdu.JSON()) > maxEvent:
		return nil, errLarge
	}
	return newEvent(pdu, v)
}

var errLarge = fmt.Errorf("the event is larger than %d bytes", maxEvent)

func short(text string) string {
	const most = 200
	text = strings.TrimPrefix(text, "gomatrixserverlib: ")
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

func newEvent(pdu gomatrixserverlib.PDU, v gomatrixserverlib.IRoomVersion) (*event, error) {
	sender, err := spec.NewUserID(string(pdu.SenderID()), true)
	if err != nil {
		return nil, errors.New("sender is no user ID")
	}
	bare, err := v.RedactEventJSON(pdu.JSON())
	if err != nil {
		return nil, errors.New("the event cannot be redacted")
	}
	redacted, err := newSignable(bare)
	if err != nil {
		return nil, errors.New("the event cannot be redacted")
	}
	return &event{
		id: pdu.EventID(), roomID: pdu.RoomID().String(), sender: string(sender.Domain()), version: v.Version(), ts: pdu.OriginServerTS(),
		json: pdu.JSON(), redacted: redacted, isPolicy: pdu.StateKeyEquals("") && slices.Contains(policyTypes, pdu.Type()),
	}, nil
}

// identity is what two events have in common only if they are the same, whatever ID they claim and whoever else signed: the
// redacted event has the content's hash.
func (e *event) identity() identity {
	return sha256.Sum256(append([]byte(e.version+"\n"), e.redacted.text...))
}

type identity [sha256.Size]byte

// signers are the keys with which the sender's server says that it signed.
func (e *event) signers() []gomatrixserverlib.KeyID { return e.redacted.signers(e.sender) }

// signedBy reports whether one of the keys signed the event, and was valid when that says it was made.
func (e *event) signedBy(keys serverKeys) bool {
	return slices.ContainsFunc(e.signers(), func(keyID gomatrixserverlib.KeyID) bool {
		key := keys.at(keyID, e.ts)
		return key != nil && e.redacted.signedWith(e.sender, keyID, key)
	})
}

// sign returns the policy server's signature, in unpadded base64.
func (e *event) sign(key ed25519.PrivateKey) string {
	return spec.Base64Bytes(ed25519.Sign(key, e.redacted.text)).Encode()
}
