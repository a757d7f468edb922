package policyserver

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"github.com/tidwall/gjson"
)

// maxDepth is how deep objects and lists of a request may be nested. The time of the library's canonical JSON grows
// with the square of the depth. Synapse itself reads fewer than 1000 levels. Beyond: refused.
const maxDepth = 256

var errDeep = errors.New("too much of it is inside something else")

// signable is the signed form of an object: canonical JSON without signatures and unsigned. It is made once, to be
// verified, signed and compared. Source: Matrix specification, Appendices, "Signing JSON".
type signable struct {
	text       []byte
	signatures gjson.Result // an object of objects by server, or anything else
}

// newSignable makes the signed form of an object, which must be valid JSON.
func newSignable(object []byte) (s signable, err error) {
	rest := make([]byte, 0, len(object))
	gjson.ParseBytes(object).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "signatures":
			s.signatures = value
		case "unsigned":
		default:
			rest = append(append(append(append(rest, ','), key.Raw...), ':'), value.Raw...)
		}
		return true
	})
	if len(rest) == 0 {
		return s, errors.New("there is nothing to sign")
	}
	rest[0] = '{'
	s.text = gomatrixserverlib.CanonicalJSONAssumeValid(append(rest, '}'))
	return s, nil
}

// by calls f for each member of an object, or for none if it is something else.
func by(object gjson.Result, f func(name string, value gjson.Result)) {
	if !object.IsObject() {
		return
	}
	object.ForEach(func(key, value gjson.Result) bool {
		f(key.Str, value)
		return true
	})
}

// servers returns the names of those that say that they signed.
func (s signable) servers() (names []string) {
	by(s.signatures, func(server string, _ gjson.Result) { names = append(names, server) })
	return names
}

// signatures are those of one server, in base64, by the keys that it says it signed with.
type signatures map[gomatrixserverlib.KeyID]string

// of returns the signatures of a server.
func (s signable) of(server string) signatures {
	all := signatures{}
	by(s.signatures, func(name string, signatures gjson.Result) {
		if name == server {
			by(signatures, func(key string, signature gjson.Result) { all[gomatrixserverlib.KeyID(key)] = signature.Str })
		}
	})
	return all
}

// verified reports whether a signature, in base64 with or without padding, is one of the text. Source: Matrix specification, Appendices,
// "Unpadded Base64".
func verified(key ed25519.PublicKey, text []byte, signature string) bool {
	var raw spec.Base64Bytes
	err := raw.Decode(strings.TrimRight(signature, "="))
	return err == nil && len(raw) == ed25519.SignatureSize && ed25519.Verify(key, text, raw)
}

// errEscaped is the error for a key that the library cannot write as canonical JSON: it leaves out the escapes that
// such a key needs, so homeservers sign other bytes.
var errEscaped = errors.New("a key has a quotation mark, a backslash, a control character or half a character in it")

// readable returns an error for JSON that is nested deeper than [maxDepth], or that has a key that needs an escape. The
// server that asks has such JSON from its users, so it must be answered with a refusal, not as if its own signature
// were wrong.
func readable(text []byte) error {
	for depth, i := 0, 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			end, escaped := pastString(text, i)
			if escaped && isKey(text[end:]) && needsEscape(text[i:end]) {
				return errEscaped
			}
			i = end - 1
		case '{', '[':
			if depth++; depth > maxDepth {
				return errDeep
			}
		case '}', ']':
			depth--
		}
	}
	return nil
}

// pastString returns the end of the string that begins at i, and whether it has an escape.
func pastString(text []byte, i int) (end int, escaped bool) {
	for i++; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '\\' {
			escaped = true
			i++
		}
	}
	return min(i+1, len(text)), escaped
}

// isKey reports whether a string is a key, which it is if a colon follows.
func isKey(rest []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(":")) }

// needsEscape reports whether a string with escapes needs one in canonical JSON, too. Encoders also escape characters
// that do not need it, such as < and é.
func needsEscape(text []byte) bool {
	var plain string
	return json.Unmarshal(text, &plain) != nil || strings.ContainsFunc(plain, func(r rune) bool {
		return r < ' ' || r == '"' || r == '\\' || r == utf8.RuneError
	})
}
