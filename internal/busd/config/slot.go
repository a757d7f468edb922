package config

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// slot reads the value of a key into its place, and shows it.
type slot struct {
	read func(value)
	show func() string // as it is written in busd.yaml; "" when there is nothing to show
	keys []key         // of a mapping with keys of its own
	list func() [][]key
}

// text is a text that passes all checks.
func text(dst *string, checks ...func(string) string) slot {
	return slot{
		read: func(v value) {
			if v.tag() != tagText {
				v.fail("must be text, not %s%s", v.typeName(), v.quotes())
				return
			}
			for _, check := range checks {
				if wrong := check(v.node.Value); wrong != "" {
					v.fail("%s", wrong)
					return
				}
			}
			*dst = v.node.Value
		},
		show: func() string { return showText(*dst) },
	}
}

// urls are shown without user name and password.
func urls(dst *string, check func(string) string) slot {
	return slot{read: text(dst, check).read, show: func() string { return showURLs(*dst) }}
}

// path is a file or a folder. A relative path starts in the folder of the configuration.
func path(dst *string, u use) slot {
	return slot{
		read: func(v value) {
			text(dst, notEmpty).read(v)
			if *dst == "" {
				return
			}
			if !filepath.IsAbs(*dst) {
				*dst = filepath.Join(v.folder, *dst)
			}
			v.names(u, *dst)
		},
		show: func() string { return showText(*dst) },
	}
}

func notEmpty(s string) string {
	if s == "" {
		return "is empty"
	}
	return ""
}

// list is a list of texts that pass check.
func list(dst *[]string, check func(string) string) slot {
	return slot{
		read: func(v value) {
			for _, item := range v.items() {
				var s string
				text(&s, check).read(item)
				if slices.Contains(*dst, s) && s != "" {
					item.warn("%s is there twice (remove one)", s)
				}
				*dst = append(*dst, s)
			}
		},
		show: func() string { return showList(*dst) },
	}
}

// networks is a list of addresses and of networks.
func networks(dst *[]netip.Prefix) slot {
	var texts []string
	return slot{
		read: func(v value) {
			list(&texts, network).read(v)
			for _, s := range texts {
				if p, err := parseNetwork(s); err == nil {
					*dst = append(*dst, p)
				}
			}
		},
		show: func() string {
			var texts []string
			for _, p := range *dst {
				texts = append(texts, p.String())
			}
			return showList(texts)
		},
	}
}

// command is a program and its arguments: numbers and booleans as they are written.
func command(dst *[]string) slot {
	return slot{
		read: func(v value) {
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
			v.names(program, *dst...)
		},
		show: func() string { return showList(*dst) },
	}
}

// count is a whole number from 1.
func count(dst *int) slot {
	return slot{
		read: func(v value) {
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
		},
		show: func() string { return strconv.Itoa(*dst) },
	}
}

// least is the shortest duration that is usual for waiting for modules or clients.
const least = 10 * time.Millisecond

// duration is a positive duration. A warning is given for one below usual.
func duration(dst *time.Duration, usual time.Duration) slot {
	return slot{
		read: func(v value) {
			if !slices.Contains([]string{tagText, tagInt, tagFloat}, v.tag()) {
				v.fail("must be a duration, not %s", v.typeName())
				return
			}
			d, err := v.duration()
			switch {
			case err != nil:
				v.fail("%s", err)
				return
			case d <= 0:
				v.fail("must be more than 0, not %s", quote(v.node.Value))
				return
			case d < usual:
				v.warn("%s is very short%s", ShowTime(d), v.unitless())
			}
			*dst = d
		},
		show: func() string { return ShowTime(*dst) },
	}
}

// answerTime is how long after a question NATS lets a module answer: see the permissions in docs/protocol.md.
const answerTime = 24 * time.Hour

// answerable is a duration within which a module has to answer.
func answerable(dst *time.Duration) slot {
	of := duration(dst, least)
	read := func(v value) {
		of.read(v)
		if *dst > answerTime {
			v.warn("%s is longer than NATS lets a module take: an answer after %s is refused there, and the question waits in vain (try %[2]s at most)",
				ShowTime(*dst), ShowTime(answerTime))
		}
	}
	return slot{read: read, show: of.show}
}

// off is the word that switches something off. In YAML 1.1, it is a boolean.
const off = "off"

// orOff reads what of reads, or the word off, which means none.
func orOff[T comparable](dst *T, none T, of slot) slot {
	return slot{
		read: func(v value) {
			if v.off() {
				*dst = none
				return
			}
			of.read(v)
		},
		show: func() string {
			if *dst == none {
				return off
			}
			return of.show()
		},
	}
}

// joinTimeout is how long a process may take to join. 0 is the default.
func joinTimeout(dst *time.Duration) slot {
	const usual = 10 * time.Second // Workers join every five.
	set := orOff(dst, Never, duration(dst, usual))
	return slot{
		read: func(v value) {
			if set.read(v); *dst == DefaultJoinTimeout {
				*dst = 0
			}
		},
		show: func() string {
			if *dst == 0 {
				return ShowTime(DefaultJoinTimeout)
			}
			return set.show()
		},
	}
}

// optional is of for a key whose absence has a meaning.
func optional[T any](dst **T, of func(*T) slot) slot {
	return slot{
		read: func(v value) { *dst = new(T); of(*dst).read(v) },
		show: func() string {
			if *dst == nil {
				return ""
			}
			return of(*dst).show()
		},
	}
}

// truth is true or false.
func truth(dst *bool) slot {
	return slot{
		read: func(v value) {
			is, ok := boolean(v.node.Value)
			if !ok || v.tag() != tagBool {
				v.fail("must be true or false, not %s", v.typeName())
				return
			}
			*dst = is
		},
		show: func() string { return strconv.FormatBool(*dst) },
	}
}

// oneIn is a fraction such as 1/100.
func oneIn(dst *int) slot {
	return slot{
		read: func(v value) {
			number, ok := strings.CutPrefix(v.node.Value, "1/")
			n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 32)
			if v.tag() == tagInt && v.node.Value == "1" {
				n, ok, err = 1, true, nil
			}
			if !ok || err != nil || n < 1 {
				v.fail("must be one of how many (try 1/100), not %s", quote(v.node.Value))
				return
			}
			*dst = int(n)
		},
		show: func() string { return "1/" + strconv.Itoa(*dst) },
	}
}

// size is a number of bytes, from 1 to most.
func size(dst *int64, most int64) slot {
	return slot{
		read: func(v value) {
			n, ok := parseSize(v.node.Value)
			switch {
			case !ok || v.tag() != tagInt && v.tag() != tagText:
				v.fail("must be a number of bytes (try 8MiB)")
			case n < 1 || n > most:
				v.fail("must be from 1 byte to %s, not %s", showSize(most), quote(v.node.Value))
			default:
				*dst = n
			}
		},
		show: func() string { return showSize(*dst) },
	}
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}, {"", 1}}

func parseSize(s string) (int64, bool) {
	for _, unit := range sizeUnits {
		if number, has := strings.CutSuffix(s, unit.name); has {
			n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
			return n * unit.bytes, err == nil && n <= math.MaxInt64/unit.bytes
		}
	}
	return 0, false
}

func showSize(n int64) string {
	if n == 0 {
		return ""
	}
	for _, unit := range sizeUnits[:3] {
		if n%unit.bytes == 0 {
			return strconv.FormatInt(n/unit.bytes, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// settings is a module's config. Only its size is shown, because it may be secret.
func settings(dst *json.RawMessage) slot {
	return slot{
		read: func(v value) { *dst = v.config() },
		show: func() string { return "# " + howMuch(*dst) },
	}
}

func howMuch(config json.RawMessage) string {
	var object map[string]json.RawMessage
	_ = json.Unmarshal(config, &object) // It is an object.
	return plural(len(object), "key")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

var unquoted = regexp.MustCompile(`^[A-Za-z0-9_./+][A-Za-z0-9_./@+=:-]*$`)

// showText writes a text so that YAML reads it as text again.
func showText(s string) string {
	if s == "" || unquoted.MatchString(s) && !strings.HasSuffix(s, ":") && plainTag(s) == tagText {
		return s
	}
	return string(appendQuoted(nil, s))
}

func showList(list []string) string {
	if len(list) == 0 {
		return ""
	}
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = showItem(s)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

func showItem(s string) string {
	if s == "" {
		return `""`
	}
	return showText(s)
}

func showURLs(s string) string {
	var list []string
	for one := range strings.SplitSeq(s, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			continue
		}
		if u.User != nil {
			u.User = url.User("redacted")
		}
		list = append(list, u.String())
	}
	return showText(strings.Join(list, ","))
}

// ShowTime is a duration as an operator writes it: without the zeros that Go writes after whole minutes and hours. It is empty for none.
func ShowTime(d time.Duration) string {
	if d == 0 {
		return ""
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
