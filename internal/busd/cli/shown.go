package cli

import (
	"bytes"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// shown is where people read what busd, modules and users wrote. Characters that a terminal obeys, or that turn the
// direction of text around, are written as \u001b or \u202e: in JSON that is the same character.
type shown struct{ w io.Writer }

// Write implements [io.Writer].
func (s shown) Write(text []byte) (int, error) {
	if bytes.IndexFunc(text, obeyed) < 0 {
		return s.w.Write(text)
	}
	var out []byte
	for rest := text; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if obeyed(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = append(out, rest[:size]...)
		}
		rest = rest[size:]
	}
	if _, err := s.w.Write(out); err != nil {
		return 0, err
	}
	return len(text), nil
}

// obeyed reports whether a character does something to the text around it.
func obeyed(r rune) bool {
	return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r)
}
