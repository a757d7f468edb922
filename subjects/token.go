package subjects

import (
	"fmt"
	"strings"
)

const hexDigits = "0123456789ABCDEF"

// Token returns the one subject token that stands for s: s itself where it can be one, and otherwise s with % and two
// hexadecimal digits for each byte that cannot stand in a token; % alone stands for the empty text. [ParseToken] returns s.
func Token(s string) string {
	if s == "" {
		return "%"
	}
	if strings.IndexFunc(s, needsEscape) < 0 {
		return s
	}
	return escape(s)
}

// escaped returns how many bytes of s are escaped.
func escaped(s string) (n int) {
	for i := range len(s) {
		if !plain(s[i]) {
			n++
		}
	}
	return n
}

func escape(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 2*escaped(s))
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// ParseToken returns the string that token stands for, or an error if [Token] never returns it.
func ParseToken(token string) (string, error) {
	s, ok := unescape(token)
	if !ok || Token(s) != token {
		return "", fmt.Errorf("subjects: %q is not the token of any string", token)
	}
	return s, nil
}

func unescape(token string) (string, bool) {
	if token == "%" {
		return "", true
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '%' {
			b.WriteByte(token[i])
			continue
		}
		if i+2 >= len(token) {
			return "", false
		}
		high, low := strings.IndexByte(hexDigits, token[i+1]), strings.IndexByte(hexDigits, token[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		b.WriteByte(byte(high<<4 | low))
		i += 2
	}
	return b.String(), true
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

func needsEscape(r rune) bool { return r > 0x7f || !plain(byte(r)) }

// ServiceName is the name of a module's NATS micro service: the module's, with an underscore for each character that the
// name of a service may not have.
func ServiceName(module string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, module)
}
