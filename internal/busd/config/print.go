package config

import (
	"io"
	"strings"
)

// Describe writes the configuration as understood: every key that can be written, with its value or default. The output
// is a busd.yaml that means the same, except that only the size of a module's config is shown, and that URLs have no
// passwords. Keys that are not set are comments.
func (c *Config) Describe(w io.Writer) error {
	_, err := io.WriteString(w, c.String())
	return err
}

// String returns what [Config.Describe] writes.
func (c *Config) String() string {
	var b strings.Builder
	show(&b, "", fileKeys(c))
	return b.String()
}

func show(b *strings.Builder, indent string, keys []key) {
	for _, k := range keys {
		switch {
		case k.keys != nil:
			b.WriteString(indent + k.name + ":\n")
			show(b, indent+"  ", k.keys)
		case k.list != nil:
			showEntries(b, indent, k)
		default:
			b.WriteString(indent + k.line() + "\n")
		}
	}
}

func showEntries(b *strings.Builder, indent string, k key) {
	entries := k.list()
	if len(entries) == 0 {
		b.WriteString(indent + k.name + ": []\n")
		return
	}
	b.WriteString(indent + k.name + ":\n")
	for _, keys := range entries {
		b.WriteString(indent + "  - " + keys[0].line() + "\n")
		show(b, indent+"    ", keys[1:])
	}
}

// line is the key with its value.
func (k key) line() string {
	shown := k.show()
	switch {
	case shown == "" && strings.HasPrefix(k.initial, "`"): // A default is not shown here.
		return "# " + k.name + ": none"
	case shown == "":
		return "# " + k.name + ": " + strings.ReplaceAll(k.initial, "`", "")
	case shown[0] == '\n':
		return k.name + ":" + shown
	}
	return k.name + ": " + shown
}

// showFlow writes the keys that are set on one line.
func showFlow(keys []key) string {
	var parts []string
	for _, k := range keys {
		if k.show() != "" {
			parts = append(parts, k.line())
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
