package wire

import (
	"bytes"
	"encoding/json"
	"strings"
)

// validJSON is [json.Valid] in a third of its time, which is most of what reading a question about many events takes. What plainJSON does
// not accept is left to json.Valid, so there is one truth about what JSON is.
func validJSON(data []byte) bool { return plainJSON(data) || json.Valid(data) }

// plainDepth is how deep the values are nested that plainJSON reads. What is deeper is left to json.Valid.
const plainDepth = 64

// broken is what the functions below return in place of the index behind what they have read, where that is not JSON or not plain.
const broken = -1

// plainJSON reports whether data is JSON without fractions, exponents and deep nesting.
func plainJSON(data []byte) bool {
	end := value(data, 0, plainDepth)
	return end != broken && space(data, end) == len(data)
}

// value reads the value that begins at i, or behind white space there.
func value(b []byte, i, depth int) int {
	if i = space(b, i); i == len(b) || depth == 0 {
		return broken
	}
	switch c := b[i]; {
	case c == '"':
		return text(b, i)
	case c == '{':
		return list(b, i, '}', depth-1)
	case c == '[':
		return list(b, i, ']', depth-1)
	case c == '-' || isDigit(c):
		return integer(b, i)
	}
	return word(b, i)
}

// list reads an object or an array, which end ends.
func list(b []byte, i int, end byte, depth int) int {
	i++
	if at(b, i, end) {
		return space(b, i) + 1
	}
	for more := true; more; {
		if end == '}' {
			i = name(b, i)
		}
		if i == broken {
			return broken
		}
		if i = value(b, i, depth); i == broken {
			return broken
		}
		if more = at(b, i, ','); more {
			i = space(b, i) + 1
		}
	}
	if !at(b, i, end) {
		return broken
	}
	return space(b, i) + 1
}

// name reads the name of a member and the colon behind it.
func name(b []byte, i int) int {
	if !at(b, i, '"') {
		return broken
	}
	if i = text(b, space(b, i)); i == broken || !at(b, i, ':') {
		return broken
	}
	return space(b, i) + 1
}

// text reads the string that begins at i.
func text(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c < ' ':
			return broken
		case c == '\\':
			if i++; i == len(b) || !escaped(b[i:]) {
				return broken
			}
		}
	}
	return broken
}

// escaped reports whether b begins with what may follow a backslash.
func escaped(b []byte) bool {
	const hex = "0123456789abcdefABCDEF"
	if b[0] != 'u' {
		return strings.IndexByte(`"\/bfnrt`, b[0]) >= 0
	}
	return len(b) > 4 && len(bytes.TrimLeft(b[1:5], hex)) == 0
}

// integer reads the number that begins at i, if it is one.
func integer(b []byte, i int) int {
	if b[i] == '-' {
		i++
	}
	digits := 0
	for first := i; i < len(b) && isDigit(b[i]); i++ {
		digits++
		if digits > 1 && b[first] == '0' {
			return broken
		}
	}
	if digits == 0 || i < len(b) && strings.IndexByte(".eE", b[i]) >= 0 {
		return broken
	}
	return i
}

func word(b []byte, i int) int {
	for _, w := range []string{"true", "false", "null"} {
		if len(b)-i >= len(w) && string(b[i:i+len(w)]) == w {
			return i + len(w)
		}
	}
	return broken
}

// space returns the index of what follows the white space at i.
func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// at reports whether a byte is the next one that is not white space.
func at(b []byte, i int, want byte) bool {
	i = space(b, i)
	return i < len(b) && b[i] == want
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
