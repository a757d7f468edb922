// Command schemagen writes all that follows from schemas/: the Go of the messages, the typed Go of subjects, bus and
// modulekit, the reference pages in docs, and the tables that the bridge in Synapse is driven by.
//
//	go run -C internal/cmd/schemagen .         # writes
//	go run -C internal/cmd/schemagen . -check  # writes nothing; names what is stale and exits 1
//
// It is a module of its own, so that what it needs is not required of users of modulebus.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

const root = "../../.."

func main() {
	check := flag.Bool("check", false, "compare with what is there instead of writing")
	flag.Parse()
	if err := run(context.Background(), *check); err != nil {
		fmt.Fprintln(os.Stderr, "schemagen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, check bool) error {
	files, err := compile(ctx, filepath.Join(root, "schemas"))
	if err != nil {
		return err
	}
	outputs, err := messages(files)
	if err != nil {
		return err
	}
	pages, err := render(categoriesOf(files))
	if err != nil {
		return err
	}
	maps.Copy(outputs, pages)
	table, err := bridge(files)
	if err != nil {
		return err
	}
	maps.Copy(outputs, table)
	if check {
		return compare(outputs)
	}
	return write(outputs)
}

func write(outputs map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, outputs[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// compare names the files that differ from outputs, and those that nothing generates any more.
func compare(outputs map[string][]byte) error {
	var stale []string
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		have, err := os.ReadFile(filepath.Join(root, name))
		if err != nil || !bytes.Equal(have, outputs[name]) {
			stale = append(stale, name)
		}
	}
	for _, name := range generated() {
		if outputs[name] == nil {
			stale = append(stale, name+" (nothing generates it)")
		}
	}
	if len(stale) > 0 {
		return fmt.Errorf("stale, run go generate ./...: %q", stale)
	}
	return nil
}

// generated lists what is there under the names that schemagen writes.
func generated() []string {
	var names []string
	for _, pattern := range []string{"*/*_gen.go", "*/*/*_gen.go", "schemas/*/*/*.pb.go", "docs/callbacks/*.md"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern)) // The patterns are good.
		for _, path := range found {
			name, _ := filepath.Rel(root, path)
			names = append(names, filepath.ToSlash(name))
		}
	}
	return names
}
