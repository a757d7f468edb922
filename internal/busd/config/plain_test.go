package config

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// alphabet is that of testdata/pyyaml.py.
const alphabet = "0123456789eExobfn._:+-"

// TestPlainScalarsAreThoseOfPyYAML holds every plain scalar of up to five characters of the alphabet against what PyYAML
// made of it, which testdata/pyyaml.py recorded. Under the race detector, which makes this long, it is one in ten of the
// beginnings; nothing here is shared.
func TestPlainScalarsAreThoseOfPyYAML(t *testing.T) {
	t.Parallel()
	f, err := os.Open("testdata/pyyaml.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	type record struct{ begin, digest string }
	records := make(chan record)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for r := range records {
				if got := digestOf(r.begin); got != r.digest {
					t.Errorf("of the scalars that begin with %q, some mean something else than to PyYAML", r.begin)
				}
			}
		})
	}
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		begin, digest, _ := strings.Cut(lines.Text(), " ")
		if !racing || n%10 == 0 || len(begin) == 1 {
			records <- record{begin, digest}
		}
	}
	close(records)
	workers.Wait()
	if want := len(alphabet) * (1 + len(alphabet)); n != want {
		t.Errorf("%d beginnings are recorded, want %d", n, want)
	}
}

// digestOf is the digest that testdata/pyyaml.py makes of the scalars that begin so.
func digestOf(begin string) string {
	out := sha256.New()
	longest := 5
	if len(begin) == 1 {
		longest = 1
	}
	for length := len(begin); length <= longest; length++ {
		eachScalar(begin, length, func(s string) {
			if meaning, text := spell(s); !text {
				fmt.Fprintf(out, "%s\t%s\n", s, meaning)
			}
		})
	}
	return hex.EncodeToString(out.Sum(nil))[:32]
}

// eachScalar calls f with the plain scalars of that length that begin so, in the alphabet's order.
func eachScalar(begin string, length int, f func(string)) {
	if len(begin) < length {
		for i := range len(alphabet) {
			eachScalar(begin+alphabet[i:i+1], length, f)
		}
	} else if !strings.HasSuffix(begin, ":") && begin != "-" {
		f(begin)
	}
}

func spell(s string) (meaning string, isText bool) {
	switch plainTag(s) {
	case tagBool:
		truth, _ := boolean(s)
		return strconv.FormatBool(truth), false
	case tagNull:
		return "null", false
	case tagInt:
		if n, ok := integer(s); ok {
			return n.String(), false
		}
	case tagFloat:
		switch f, ok := float(s); {
		case ok && math.IsNaN(f):
			return "nan", false
		case ok:
			return fmt.Sprintf("f%016x", math.Float64bits(f)), false
		}
	case tagText:
		return "", true
	}
	return "error", false
}

func TestWordsAreThoseOfPyYAML(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"yes": tagBool, "Yes": tagBool, "YES": tagBool, "yEs": tagText, "y": tagText, "Off": tagBool, "true": tagBool, "TRUE": tagBool,
		"null": tagNull, "Null": tagNull, "nUll": tagText, "~": tagNull, "": tagNull, "<<": tagMerge, "=": tagValue, "==": tagText,
		".inf": tagFloat, "-.INF": tagFloat, ".nan": tagFloat, "-.nan": tagText, "inf": tagText,
		"2024-01-02": tagDate, "2024-1-2": tagText, "2024-01-02T03:04:05Z": tagDate, "2024-1-2 3:04:05 +01:00": tagDate, "2024-01-02 03:04": tagText,
		"1_000": tagInt, "0b1_1": tagInt, "0x1F": tagInt, "0o17": tagText, "1e3": tagText, "1.5e3": tagText, "1.5e+3": tagFloat,
		"190:20:30": tagInt, "190:20:30.15": tagFloat, "é": tagText,
	} {
		if got := plainTag(s); got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
	}
}
