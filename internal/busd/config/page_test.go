package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

const page = "../../../docs/operating.md"

// TestKeysAreAllOnThePage holds the tables of keys in docs/operating.md against the keys that there are. -update writes them.
func TestKeysAreAllOnThePage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	got := string(text)
	for name, keys := range map[string][]key{"the file": fileKeys(new(Config)), "a module": moduleKeys(new(Module))} {
		table := regexp.MustCompile(`(?s)(<!-- keys of ` + name + ` -->\n\n).*?(\n\n)`)
		if !table.MatchString(got) {
			t.Fatalf("%s has no table of the keys of %s", page, name)
		}
		got = table.ReplaceAllStringFunc(got, func(old string) string {
			parts := table.FindStringSubmatch(old)
			return parts[1] + tableOf(keys) + parts[2]
		})
	}
	golden(t, page, got)
}

func tableOf(keys []key) string {
	rows := []string{"| key | default | |", "|---|---|---|"}
	eachKey("", keys, func(name string, k key) {
		if k.meaning != "" {
			rows = append(rows, "| `"+name+"` | "+strings.TrimSuffix(k.initial, "none")+" | "+k.meaning+" |")
		}
	})
	return strings.ReplaceAll(strings.Join(rows, "\n"), "|  |", "| |")
}

// TestKeysAreAllExplained wants a word for the page about each key that is not a mapping of others.
func TestKeysAreAllExplained(t *testing.T) {
	t.Parallel()
	for _, keys := range [][]key{fileKeys(new(Config)), moduleKeys(new(Module))} {
		eachKey("", keys, func(name string, k key) {
			if k.keys == nil && (k.meaning == "" || k.initial == "") {
				t.Errorf("%s: says %q, default %q", name, k.meaning, k.initial)
			}
		})
	}
}
