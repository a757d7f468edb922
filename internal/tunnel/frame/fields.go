package frame

import (
	"encoding/binary"
	"net/http"
	"strconv"
	"strings"
)

// Field is one line of a header or trailer section. Names are in canonical form, as [http.CanonicalHeaderKey] gives it.
type Field struct{ Name, Value string }

// SafeValue returns a field's value with CR, LF and NUL replaced by spaces, as RFC 9110, section 5.5 lets a recipient do,
// and net/http's server does.
func SafeValue(s string) string { return unsafeBytes.Replace(s) }

var unsafeBytes = strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ")

// moreFields is the room for fields that a gateway adds.
const moreFields = 3

// FieldsOf lists h for the wire. Names that are not tokens are left out, as net/http's server leaves them out.
func FieldsOf(h http.Header) []Field {
	if len(h) == 0 {
		return nil
	}
	fields := make([]Field, 0, len(h)+moreFields)
	for name, values := range h {
		name = http.CanonicalHeaderKey(name)
		if !canonical(name) {
			continue
		}
		for _, value := range values {
			fields = append(fields, Field{name, unsafeBytes.Replace(value)})
		}
	}
	return fields
}

// HeaderOf is the inverse of [FieldsOf]. All values share one backing array.
func HeaderOf(fields []Field) http.Header {
	h := make(http.Header, len(fields))
	AddFields(h, fields)
	return h
}

// AddFields adds the fields to h, whose names are in canonical form.
func AddFields(h http.Header, fields []Field) { addFields(h, fields, make([]string, len(fields))) }

// AddFieldsSized is AddFields with a Content-Length, instead of any that there is; a negative one is none.
func AddFieldsSized(h http.Header, fields []Field, length int64) {
	n := len(fields)
	values := make([]string, n+1)
	addFields(h, fields, values)
	delete(h, "Content-Length")
	if length >= 0 {
		values[n] = strconv.FormatInt(length, 10)
		h["Content-Length"] = values[n:]
	}
}

// addFields adds the fields to h, with values for memory, which has a place for each.
func addFields(h http.Header, fields []Field, values []string) {
	for i, f := range fields {
		values[i] = f.Value
		if h[f.Name] == nil {
			h[f.Name] = values[i : i+1 : i+1]
			continue
		}
		h[f.Name] = append(h[f.Name], f.Value)
	}
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendFields(dst []byte, fields []Field) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(fields)))
	for _, f := range fields {
		dst = appendString(dst, f.Name)
		dst = appendString(dst, f.Value)
	}
	return dst
}

func (f Field) valid() bool {
	return canonical(f.Name) && !strings.ContainsAny(f.Value, "\r\n\x00")
}

// canonical reports whether name is a token in canonical form, so that names can be compared as they are.
func canonical(name string) bool {
	upper := true
	for i := range len(name) {
		c := name[i]
		if !tokenByte[c] || upper && 'a' <= c && c <= 'z' || !upper && 'A' <= c && c <= 'Z' {
			return false
		}
		upper = c == '-'
	}
	return name != ""
}

// IsToken reports whether s may be a method or a field name (RFC 9110, section 5.6.2).
func IsToken(s string) bool {
	for i := range len(s) {
		if !tokenByte[s[i]] {
			return false
		}
	}
	return s != ""
}

var tokenByte = func() (is [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		is[c] = true
	}
	return is
}()
