package config

import (
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// text reads text into dst, unless a check has something to say about it.
func text(dst *string, checks ...func(string) string) func(value) {
	return func(v value) {
		if v.tag() != tagText {
			v.fail("must be text, not %s", v.typeName())
			return
		}
		for _, check := range checks {
			if wrong := check(v.node.Value); wrong != "" {
				v.fail("%s", wrong)
				return
			}
		}
		*dst = v.node.Value
	}
}

// file reads the path of a file, which starts from folder.
func file(dst *string, folder string) func(value) {
	return func(v value) {
		text(dst, notEmpty)(v)
		if *dst != "" && !filepath.IsAbs(*dst) {
			*dst = filepath.Join(folder, *dst)
		}
	}
}

func notEmpty(s string) string {
	if s == "" {
		return "is empty"
	}
	return ""
}

// networks reads a list of addresses and of networks.
func networks(dst *[]netip.Prefix) func(value) {
	return func(v value) {
		for _, item := range v.items() {
			s := ""
			text(&s, network)(item)
			if p, err := parseNetwork(s); err == nil {
				*dst = append(*dst, p)
			}
		}
	}
}

// arguments reads a program and its arguments.
func arguments(dst *[]string) func(value) {
	return func(v value) {
		if v.tag() == tagText {
			v.fail("must be a list, not text (write [program, argument])")
			return
		}
		for _, item := range v.items() {
			*dst = append(*dst, item.argument())
		}
		if v.tag() == tagList && (len(*dst) == 0 || (*dst)[0] == "") {
			v.fail("names no program")
		}
	}
}

// argument returns what a program is to be given: numbers and booleans as they are written.
func (v value) argument() string {
	if !slices.Contains([]string{tagText, tagInt, tagFloat, tagBool, tagDate}, v.tag()) {
		v.fail("must be text, not %s", v.typeName())
	}
	if strings.Contains(v.node.Value, "\x00") {
		v.fail("has a zero byte, which no program can be given")
	}
	return v.node.Value
}

// positive reads a whole number from 1.
func positive(dst *int) func(value) {
	return func(v value) {
		n, ok := v.integer()
		switch {
		case !ok:
			v.fail("must be a whole number, not %s", v.notInteger())
		case n < 1:
			v.fail("must be at least 1, not %d", n)
		case n > math.MaxInt32:
			v.fail("must be at most %d, not %d", math.MaxInt32, n)
		default:
			*dst = int(n)
		}
	}
}

func (v value) integer() (int64, bool) {
	n, err := strconv.ParseInt(strings.ReplaceAll(v.node.Value, "_", ""), 0, 64)
	return n, err == nil && v.tag() == tagInt
}

// notInteger says what v is instead of a whole number.
func (v value) notInteger() string {
	if tag := v.tag(); tag == tagInt || tag == tagFloat {
		return quote(v.node.Value)
	}
	return v.typeName()
}

// duration reads a duration of more than nothing.
func duration(dst *time.Duration) func(value) {
	return func(v value) {
		if !slices.Contains([]string{tagText, tagInt, tagFloat}, v.tag()) {
			v.fail("must be a duration, not %s", v.typeName())
			return
		}
		d, err := v.duration()
		switch {
		case err != nil:
			v.fail("%s", err)
		case d <= 0:
			v.fail("must be more than 0, not %s", quote(v.node.Value))
		default:
			*dst = d
		}
	}
}

func (v value) duration() (time.Duration, error) {
	if n, ok := v.integer(); ok {
		return ParseDuration(strconv.FormatInt(n, 10))
	}
	return ParseDuration(v.node.Value)
}
