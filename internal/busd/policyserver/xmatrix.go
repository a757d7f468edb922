package policyserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/spec"
)

var errHeader = errors.New("the Authorization header is not that of X-Matrix: origin, key and sig are wanted, each once")

// xMatrix is an Authorization header of the scheme X-Matrix.
type xMatrix struct{ origin, destination, key, sig string }

// parseXMatrix reads the header in the form of RFC 9110: names in any case, values as tokens or in quotes.
func parseXMatrix(header string) (x xMatrix, err error) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	if !strings.EqualFold(scheme, "X-Matrix") {
		return x, errHeader
	}
	fields := map[string]*string{"origin": &x.origin, "destination": &x.destination, "key": &x.key, "sig": &x.sig}
	for rest = strings.Trim(rest, " \t,"); rest != ""; rest = strings.TrimLeft(rest, " \t,") {
		var name, value string
		if name, value, rest, err = parameter(rest); err != nil {
			return xMatrix{}, err
		}
		dst, known := fields[strings.ToLower(name)]
		switch {
		case known && *dst != "":
			return xMatrix{}, errHeader
		case known:
			*dst = value
		}
	}
	if _, _, ok := spec.ParseAndValidateServerName(spec.ServerName(x.origin)); !ok || x.key == "" || x.sig == "" {
		return xMatrix{}, errHeader
	}
	return x, nil
}

// parameter cuts one name=value off the beginning of the text.
func parameter(text string) (name, value, rest string, err error) {
	name, rest, found := strings.Cut(text, "=")
	name, rest = strings.TrimRight(name, " \t"), strings.TrimLeft(rest, " \t")
	if !found || name == "" || strings.ContainsAny(name, " \t,\"") {
		return "", "", "", errHeader
	}
	if !strings.HasPrefix(rest, `"`) {
		end := strings.IndexByte(rest, ',')
		if end < 0 {
			end = len(rest)
		}
		return name, strings.TrimRight(rest[:end], " \t"), rest[end:], nil
	}
	value, rest, err = quoted(rest[1:])
	return name, value, rest, err
}

// quoted cuts the rest of a quoted string off the beginning of the text, and what follows up to a comma.
func quoted(text string) (value, rest string, err error) {
	var b strings.Builder
	b.Grow(max(0, strings.IndexByte(text, '"')))
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case c == '"':
			rest = strings.TrimLeft(text[i+1:], " \t")
			if rest != "" && rest[0] != ',' {
				return "", "", errHeader
			}
			return b.String(), rest, nil
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errHeader
}

// authorizes checks the request against the keys of its origin at a time. Homeservers send what they sign, so the body is made
// canonical only where its signature does not hold as it is.
func (x xMatrix) authorizes(r Request, destination string, keys serverKeys, now time.Time) error {
	message, err := x.signed(r.Method, r.URI, destination, r.Body)
	if err != nil {
		return err
	}
	if err = x.verify(keys, now, message); err == nil {
		return nil
	}
	canonical := gomatrixserverlib.CanonicalJSONAssumeValid(r.Body)
	if bytes.Equal(canonical, r.Body) {
		return err
	}
	if message, err = x.signed(r.Method, r.URI, destination, canonical); err != nil {
		return err
	}
	return x.verify(keys, now, message)
}

// signed returns the canonical JSON that the header's signature is over; content is the first of its keys.
func (x xMatrix) signed(method, uri, destination string, content []byte) ([]byte, error) {
	rest, err := json.Marshal(struct { // In the order of canonical JSON.
		Destination string `json:"destination"`
		Method      string `json:"method"`
		Origin      string `json:"origin"`
		URI         string `json:"uri"`
	}{destination, method, x.origin, uri})
	if err == nil && bytes.IndexByte(rest, '\\') >= 0 { // Without an escape, it is canonical.
		rest, err = gomatrixserverlib.CanonicalJSON(rest)
	}
	return slices.Concat([]byte(`{"content":`), content, []byte(","), bytes.TrimPrefix(rest, []byte("{"))), err
}

// verify checks the signature against the keys of its origin at a time.
func (x xMatrix) verify(keys serverKeys, now time.Time, message []byte) error {
	key := keys.at(gomatrixserverlib.KeyID(x.key), spec.AsTimestamp(now))
	if key == nil {
		return errors.New("the key is not one that the server has now")
	}
	if !verified(key, message, x.sig) {
		return errors.New("the signature is not one with that key")
	}
	return nil
}
