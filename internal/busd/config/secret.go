package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"unicode"
)

var (
	errNoToken  = errors.New("is empty")
	errTwoLines = errors.New("has more than one line, and a file holds one token")
	errNoText   = errors.New("has a character that no token can have, such as a zero byte")
)

// ReadToken returns the token in a file: its one line, without spaces around it. An error names the file; where it holds no token,
// the error also says what to write into it. No error has any of the file's text.
func ReadToken(file, write string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	token, err := tokenIn(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w: write %s into it", file, err, write)
	}
	return token, nil
}

// tokenIn returns the token in the text of a file. What could not be sent in a header is none.
func tokenIn(text []byte) ([]byte, error) {
	token := bytes.TrimSpace(text)
	switch {
	case len(token) == 0:
		return nil, errNoToken
	case bytes.ContainsAny(token, "\r\n"):
		return nil, errTwoLines
	case bytes.ContainsFunc(token, unicode.IsControl):
		return nil, errNoText
	}
	return token, nil
}
