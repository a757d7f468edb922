package config

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// units are Synapse's units that Go does not have.
var units = map[byte]time.Duration{'d': day, 'w': 7 * day, 'y': 365 * day}

var (
	errNoDuration = errors.New("is not a duration")
	errTooLong    = errors.New("is too long a duration (292y is the longest)")
)

// ParseDuration reads a duration as Go writes it (250ms, 1h30m) or as Synapse does (5d, 1w, 10y, and plain
// milliseconds). The error says what was read, and what to write instead.
func ParseDuration(text string) (time.Duration, error) {
	d, err := readDuration(text)
	switch {
	case errors.Is(err, errNoDuration):
		return 0, fmt.Errorf("%s %w (try %s)", quote(text), err, likelyDuration(text))
	case err != nil:
		return 0, fmt.Errorf("%s %w", quote(text), err)
	}
	return d, nil
}

func readDuration(text string) (time.Duration, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return d, nil
	}
	if text == "" {
		return 0, errNoDuration
	}
	last := len(text) - 1
	if unit, ok := units[text[last]]; ok {
		return multiply(text[:last], unit)
	}
	return multiply(text, time.Millisecond)
}

func multiply(number string, unit time.Duration) (time.Duration, error) {
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, errTooLong
	case err != nil:
		return 0, errNoDuration
	case n > math.MaxInt64/int64(unit) || n < math.MinInt64/int64(unit):
		return 0, errTooLong
	}
	return time.Duration(n) * unit, nil
}

var numberAndWord = regexp.MustCompile(`^\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([A-Za-zµ]+)\.?\s*$`)

// unitWords are beginnings of words for units, longer ones first. Months are missing, because their length varies.
var unitWords = [...]struct{ begins, unit string }{
	{"mil", "ms"},
	{"ms", "ms"},
	{"mic", "us"},
	{"mo", ""},
	{"m", "m"},
	{"s", "s"},
	{"h", "h"},
	{"d", "d"},
	{"w", "w"},
	{"y", "y"},
}

const anyDuration = "250ms, 5m or 1d"

// likelyDuration guesses which duration was meant.
func likelyDuration(text string) string {
	parts := numberAndWord.FindStringSubmatch(text)
	if parts == nil {
		return anyDuration
	}
	word := strings.ToLower(parts[2])
	for _, w := range unitWords {
		if strings.HasPrefix(word, w.begins) {
			return validOr(parts[1]+w.unit, anyDuration)
		}
	}
	return anyDuration
}

func validOr(guess, otherwise string) string {
	if _, err := strconv.ParseFloat(guess, 64); err == nil {
		return otherwise // no unit: months, or something unknown
	}
	if _, err := readDuration(guess); err != nil {
		return otherwise
	}
	return guess
}
