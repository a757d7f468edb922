package policyserver

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"slices"
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
	signatures map[string]map[gomatrixserverlib.KeyID]spec.Base64Bytes
}

// newSignable makes the signed form of an object, which must be valid JSON.
func newSignable(object []byte) (s signable, err error) {
	rest := make([]byte, 0, len(object))
	gjson.ParseBytes(object).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "signatures":
			if json.Unmarshal([]byte(value.Raw), &s.signatures) != nil {
				s.signatures = nil // Signatures that cannot be read count as none.
			}
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

// signers are the keys with which a server says that it signed, at most [maxKeys] of them.
func (s signable) signers(server string) []gomatrixserverlib.KeyID {
	var ids []gomatrixserverlib.KeyID
	for id := range s.signatures[server] {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids[:min(len(ids), maxKeys)]
}

// signedWith reports whether the server signed with the key.
func (s signable) signedWith(server string, id gomatrixserverlib.KeyID, key ed25519.PublicKey) bool {
	return verified(key, s.text, s.signatures[server][id])
}

func verified(key ed25519.PublicKey, text, signature []byte) bool {
	return len(signature) == ed25519.SignatureSize && ed25519.Verify(key, text, signature)
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
