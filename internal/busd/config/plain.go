package config

import (
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// The types of scalars in YAML 1.1, by their tags.
const (
	tagText   = "!!str"
	tagInt    = "!!int"
	tagFloat  = "!!float"
	tagBool   = "!!bool"
	tagNull   = "!!null"
	tagDate   = "!!timestamp"
	tagMerge  = "!!merge"
	tagValue  = "!!value"
	tagBinary = "!!binary"
)

// words are the plain scalars that are neither text nor numbers.
var words = func() map[string]string {
	m := map[string]string{"": tagNull, "~": tagNull, "<<": tagMerge, "=": tagValue}
	for _, w := range []string{"yes", "no", "true", "false", "on", "off", "null"} {
		tag := tagBool
		if w == "null" {
			tag = tagNull
		}
		m[w], m[strings.ToUpper(w)], m[strings.ToUpper(w[:1])+w[1:]] = tag, tag, tag
	}
	return m
}()

// The patterns of PyYAML 6.0.4, resolver.py, for scalars that begin like a number.
var (
	floats = regexp.MustCompile(`^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?` +
		`|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?` +
		`|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*` +
		`|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$`)
	ints = regexp.MustCompile(`^(?:[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+` +
		`|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+)$`)
	dates = regexp.MustCompile(`^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}` +
		`|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?` +
		`(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)$`)
)

// plainTag returns the tag that PyYAML gives to a plain scalar: YAML 1.1, where 1e3, 08 and 0o10 are text. See ADR 20.
func plainTag(s string) string {
	if tag, ok := words[s]; ok {
		return tag
	}
	if !strings.ContainsRune("+-.0123456789", rune(s[0])) {
		return tagText
	}
	switch {
	case floats.MatchString(s):
		return tagFloat
	case ints.MatchString(s):
		return tagInt
	case dates.MatchString(s):
		return tagDate
	}
	return tagText
}

// boolean returns the meaning of a scalar that is tagged as a boolean.
func boolean(s string) (truth, ok bool) {
	switch strings.ToLower(s) {
	case "yes", "true", "on":
		return true, true
	case "no", "false", "off":
		return false, true
	}
	return false, false
}

// integer returns the number of a scalar that is tagged as an integer. Like PyYAML, it cannot read some that match the
// pattern, such as 0x_.
func integer(s string) (*big.Int, bool) {
	digits, negative := unsigned(s)
	n, ok := magnitude(digits)
	if ok && negative {
		n.Neg(n)
	}
	return n, ok
}

func magnitude(digits string) (*big.Int, bool) {
	n, base := new(big.Int), 10
	switch {
	case strings.Contains(digits, ":"):
		return sexagesimal(digits)
	case strings.HasPrefix(digits, "0b"):
		digits, base = digits[2:], 2
	case strings.HasPrefix(digits, "0x"):
		digits, base = digits[2:], 16
	case strings.HasPrefix(digits, "0"):
		base = 8
	}
	if strings.HasPrefix(digits, "-") || strings.HasPrefix(digits, "+") {
		return n, false
	}
	return n.SetString(digits, base)
}

func sexagesimal(digits string) (*big.Int, bool) {
	n := new(big.Int)
	for part := range strings.SplitSeq(digits, ":") {
		digit, ok := new(big.Int).SetString(part, 10)
		if !ok {
			return n, false
		}
		n.Add(n.Mul(n, big.NewInt(60)), digit)
	}
	return n, true
}

// float returns the number of a scalar that is tagged as a float. It may be infinite or NaN.
func float(s string) (f float64, ok bool) {
	digits, negative := unsigned(strings.ToLower(s))
	switch digits {
	case ".inf":
		f = math.Inf(1)
	case ".nan":
		f = math.NaN()
	default:
		parts := strings.Split(digits, ":")
		for i, base := len(parts)-1, 1.0; i >= 0; i, base = i-1, base*60 { // PyYAML adds them up in this order.
			digit, err := strconv.ParseFloat(parts[i], 64)
			if err != nil && !math.IsInf(digit, 0) {
				return 0, false
			}
			f += digit * base
		}
	}
	if negative {
		f = -f
	}
	return f, true
}

// unsigned returns a number without its sign and its underscores.
func unsigned(s string) (digits string, negative bool) {
	s = strings.ReplaceAll(s, "_", "")
	negative = strings.HasPrefix(s, "-")
	if negative || strings.HasPrefix(s, "+") {
		s = s[1:]
	}
	return s, negative
}
