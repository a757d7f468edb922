package policyserver

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"
)

// maxEvent is the size of an event in bytes of canonical JSON, without unsigned. Beyond: refused.
const maxEvent = 65536

// keysOfEvents are the keys that have a meaning in some room version. Their spelling is checked, because readers of
// JSON differ in whether Type is also type.
var keysOfEvents = []string{
	"auth_events", "content", "depth", "event_id", "hashes", "membership", "origin", "origin_server_ts", "prev_events", "prev_state",
	"redacts", "room_id", "sender", "signatures", "state_key", "type", "unsigned",
}

// envelope holds the fields of an event that are read before its room version is known.
type envelope struct {
	roomID, kind string
	ofRoom       bool   // the state key exists, and is empty
	version      string // the room version that a create event says
}

// open reads the fields of an event that are the same in all room versions.
func open(body []byte) (envelope, error) {
	var f struct{ roomID, kind, stateKey, content, depth, sent, before, auth gjson.Result } // One piece of memory.
	err := topLevel(body, map[string]*gjson.Result{
		"room_id": &f.roomID, "type": &f.kind, "state_key": &f.stateKey, "content": &f.content, "depth": &f.depth, "origin_server_ts": &f.sent,
		"prev_events": &f.before, "auth_events": &f.auth,
	})
	if err != nil {
		return envelope{}, err
	}
	e := envelope{roomID: f.roomID.Str, kind: f.kind.Str, ofRoom: f.stateKey.Type == gjson.String && f.stateKey.Str == ""}
	switch {
	case !natural(f.depth, f.sent):
		return envelope{}, errors.New("depth or origin_server_ts is not there, or no whole number")
	case !textual(f.roomID, f.kind, f.stateKey) || f.stateKey.Raw == "null":
		return envelope{}, errors.New("room_id, type or state_key is not text")
	case !f.content.IsObject():
		return envelope{}, errors.New("content is not an object")
	case !f.before.IsArray() || !f.auth.IsArray():
		return envelope{}, errors.New("prev_events or auth_events is not there, or no list")
	case e.kind == "":
		return envelope{}, errors.New("there is no type")
	case e.roomID == "" && e.creates():
		e.version = f.content.Get("room_version").Str // Empty if it is no string.
	case !strings.HasPrefix(e.roomID, "!") || len(e.roomID) > 255:
		return envelope{}, errors.New("room_id is not that of a room")
	}
	return e, nil
}

func (e envelope) creates() bool { return e.kind == "m.room.create" && e.ofRoom }

// textual reports whether each field is a text, null or missing.
func textual(fields ...gjson.Result) bool {
	return !slices.ContainsFunc(fields, func(f gjson.Result) bool { return f.Type != gjson.String && f.Type != gjson.Null })
}

// natural reports whether each field exists and is a whole number of at least 0.
func natural(fields ...gjson.Result) bool {
	return !slices.ContainsFunc(fields, func(f gjson.Result) bool { return f.Type != gjson.Number || strings.ContainsAny(f.Raw, "-.eE") })
}

// topLevel reads fields of an object. It fails if a key occurs twice, or in another spelling.
func topLevel(body []byte, fields map[string]*gjson.Result) error {
	object := gjson.ParseBytes(body)
	if !gjson.ValidBytes(body) || !utf8.Valid(body) || !object.IsObject() {
		return errors.New("it is not a JSON object")
	}
	names, sound := make(map[string]bool, len(keysOfEvents)), true
	object.ForEach(func(key, value gjson.Result) bool {
		sound = !names[key.Str] && !misspelled(key.Str)
		names[key.Str] = true
		if field, ok := fields[key.Str]; ok {
			*field = value
		}
		return sound
	})
	if !sound {
		return errors.New("a key is there twice, or in other letters than it should be")
	}
	return nil
}

func misspelled(name string) bool {
	return !slices.Contains(keysOfEvents, name) && slices.ContainsFunc(keysOfEvents, func(known string) bool { return strings.EqualFold(name, known) })
}

// event is an event that is checked, except for its sender's signature.
type event struct {
	id, roomID, signer string // signer is the server that must have signed it
	version            gomatrixserverlib.RoomVersion
	ts                 spec.Timestamp    // when the signer's key must have been valid
	json               []byte            // canonical, without unsigned
	redacted           []byte            // what is signed of it
	signatures         signatures        // the signer's
	sum                [sha256.Size]byte // of the redacted event
	isPolicy           bool              // it names the room's policy server
}

// parse reads an event of a room version. A panic of the library becomes an error.
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
	invalid, _ := errors.AsType[gomatrixserverlib.EventValidationError](err)
	switch {
	case invalid.Code == gomatrixserverlib.EventValidationTooLarge:
		return nil, errLarge
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errForeign, err)
	case pdu.Redacted():
		return nil, errors.New("the event's content is not what its hash says")
	case len(pdu.JSON()) > maxEvent:
		return nil, errLarge
	}
	return newEvent(pdu, v)
}

var (
	errLarge   = fmt.Errorf("the event is larger than %d bytes, or one of its fields than 255", maxEvent)
	errForeign = errors.New("the event is not one of its room version")
)

// inShort returns the text of an error for other servers, without the library's words.
func inShort(err error) string {
	if errors.Is(err, errForeign) {
		err = errForeign
	}
	return err.Error()
}

func newEvent(pdu gomatrixserverlib.PDU, v gomatrixserverlib.IRoomVersion) (*event, error) {
	sender, err := spec.NewUserID(string(pdu.SenderID()), true)
	if err != nil {
		return nil, errors.New("sender is no user ID")
	}
	redacted, err := redact(pdu, v)
	if err != nil {
		return nil, errors.New("the event cannot be redacted")
	}
	sum, signer := sha256.Sum256(redacted.text), signerOf(pdu, string(sender.Domain()), redacted)
	return &event{
		id: idOf(pdu, v, sum), sum: sum, roomID: pdu.RoomID().String(), signer: signer, version: v.Version(), ts: validAt(pdu, v), json: pdu.JSON(),
		redacted: redacted.text, signatures: redacted.of(signer), isPolicy: pdu.StateKeyEquals("") && slices.Contains(policyTypes, pdu.Type()),
	}, nil
}

// redact returns the signed form of the redacted event. The library takes the whole third_party_invite away, of which room version 11
// and later keep signed. Source: Matrix specification, room version 11, "Redactions".
func redact(pdu gomatrixserverlib.PDU, v gomatrixserverlib.IRoomVersion) (s signable, err error) {
	bare, err := v.RedactEventJSON(pdu.JSON())
	if invite := thirdParty(pdu); err == nil && invite.IsObject() && keepsInvites(v) {
		kept := []byte("{}")
		if signed := invite.Get("signed"); signed.Exists() {
			kept = fmt.Appendf(nil, `{"signed":%s}`, signed.Raw)
		}
		bare, err = sjson.SetRawBytes(bare, "content.third_party_invite", kept)
	}
	if err != nil {
		return s, err
	}
	return newSignable(bare)
}

// thirdParty is the third_party_invite of a membership event.
func thirdParty(pdu gomatrixserverlib.PDU) (invite gjson.Result) {
	if pdu.Type() != spec.MRoomMember {
		return invite
	}
	return gjson.GetBytes(pdu.Content(), "third_party_invite")
}

// keepsInvites reports whether redactions in rooms of the version follow the rules of version 11, as the library tells: it keeps
// redacts then, too.
func keepsInvites(v gomatrixserverlib.IRoomVersion) bool {
	bare, err := v.RedactEventJSON([]byte(`{"type":"m.room.redaction","content":{"redacts":"$"}}`))
	return err == nil && gjson.GetBytes(bare, "content.redacts").Exists()
}

// signerOf returns the server that must have signed the event: the sender's; but any that did, for an invite that follows from an
// invite of somebody's e-mail address, because a server may send it for a user of another one. Source: Matrix specification,
// server-server API, "Checks performed on receipt of a PDU", and what Synapse checks.
func signerOf(pdu gomatrixserverlib.PDU, sender string, s signable) string {
	membership, _ := pdu.Membership()
	servers := s.servers()
	if membership != spec.Invite || !thirdParty(pdu).Exists() || len(servers) == 0 || slices.Contains(servers, sender) {
		return sender
	}
	return slices.Min(servers)
}

// validAt returns when the key of the event's signer must have been valid: before room version 5, at any time.
func validAt(pdu gomatrixserverlib.PDU, v gomatrixserverlib.IRoomVersion) spec.Timestamp {
	if v.SignatureValidityCheck(0, gomatrixserverlib.PublicKeyNotValid) {
		return 0
	}
	return pdu.OriginServerTS()
}

// idOf returns the event's ID: the one in the event, for room versions where events have one, and otherwise the hash of
// the redacted event. The library would compute the same, but from the whole event again. Source: Matrix specification,
// room versions 3 and 4, "Event IDs".
func idOf(pdu gomatrixserverlib.PDU, v gomatrixserverlib.IRoomVersion, sum [sha256.Size]byte) string {
	switch v.EventIDFormat() {
	case gomatrixserverlib.EventIDFormatV2:
		return "$" + base64.RawStdEncoding.EncodeToString(sum[:])
	case gomatrixserverlib.EventIDFormatV3:
		return "$" + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return pdu.EventID()
}

// identity is equal for two events only if they are the same event, whatever ID they claim and whoever else signed
// them: the redacted event contains the content's hash.
func (e *event) identity() identity { return identity{e.version, e.sum} }

type identity struct {
	version gomatrixserverlib.RoomVersion
	sum     [sha256.Size]byte
}

// signers returns the keys with which the signer claims to have signed, at most [maxKeys] of them.
func (e *event) signers() []gomatrixserverlib.KeyID {
	ids := slices.AppendSeq(make([]gomatrixserverlib.KeyID, 0, len(e.signatures)), maps.Keys(e.signatures))
	slices.Sort(ids)
	return ids[:min(len(ids), maxKeys)]
}

// signedBy reports whether one of the keys signed the event, and was valid when it had to be.
func (e *event) signedBy(keys serverKeys) bool {
	return slices.ContainsFunc(e.signers(), func(keyID gomatrixserverlib.KeyID) bool {
		key := keys.at(keyID, e.ts)
		return key != nil && verified(key, e.redacted, e.signatures[keyID])
	})
}

// sign returns the policy server's signature, in unpadded base64.
func (e *event) sign(key ed25519.PrivateKey) string {
	return spec.Base64Bytes(ed25519.Sign(key, e.redacted)).Encode()
}
