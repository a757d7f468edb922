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

// maxDepth is how many objects and lists of a request may be inside one another. The library's canonical JSON takes time with
// the square of that. Synapse reads fewer than 1000. Beyond: refused.
const maxDepth = 256

var errDeep = errors.New("too much of it is inside something else")

// signable is an object as its signatures are over it: canonical JSON without signatures and unsigned, which is made once for
// all that verify, sign or compare it. Source: Matrix specification, Appendices, "Signing JSON".
type signable struct {
	text       []byte
	signatures map[string]map[gomatrixserverlib.KeyID]spec.Base64Bytes
}

// newSignable takes an object that is known to be JSON.
func newSignable(object []byte) (s signable, err error) {
	rest := make([]byte, 0, len(object))
	gjson.ParseBytes(object).ForEach(func(key, value gjson.Result) bool {
		switch key.Str {
		case "signatures":
			if json.Unmarshal([]byte(value.Raw), &s.signatures) != nil {
				s.signatures = nil // What is no signature counts for none.
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

// errEscaped says what the library cannot write as canonical JSON: it leaves out the escapes that keys need there. What homeservers
// sign is something else then.
var errEscaped = errors.New("a key has a quotation mark, a backslash, a control character or half a character in it")

// readable is an error about JSON that has more than [maxDepth] objects and lists inside one another, or a key that needs an escape. Those
// who ask have it from users, so that what they are answered must not be that they are not who they say.
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

// pastString returns where a string ends that begins at i, and whether it has an escape.
func pastString(text []byte, i int) (end int, escaped bool) {
	for i++; i < len(text) && text[i] != '"'; i++ {
		if text[i] == '\\' {
			escaped = true
			i++
		}
	}
	return min(i+1, len(text)), escaped
}

// isKey reports whether a string was a key, by what is behind it.
func isKey(rest []byte) bool { return bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r\n"), []byte(":")) }

// needsEscape reports whether a string with escapes needs one in canonical JSON, too. Encoders write other characters so, such as < and é.
func needsEscape(text []byte) bool {
	var plain string
	return json.Unmarshal(text, &plain) != nil || strings.ContainsFunc(plain, func(r rune) bool {
		return r < ' ' || r == '"' || r == '\\' || r == utf8.RuneError
	})
}
