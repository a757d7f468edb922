// Command schemagen writes all that follows from schemas/: the Go of the messages, the typed Go of subjects, bus and
// modulekit, the reference pages in docs, and the tables that the bridge in Synapse is driven by.
//
//	go run -C internal/cmd/schemagen .            # writes
//	go run -C internal/cmd/schemagen . -into DIR  # writes the same files below DIR instead
//
// It is a module of its own, so that what it needs is not required of users of modulebus.
package main

import (
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
	into := flag.String("into", root, "folder to write to")
	flag.Parse()
	if err := run(context.Background(), *into); err != nil {
		fmt.Fprintln(os.Stderr, "schemagen:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, into string) error {
	files, err := compile(ctx, filepath.Join(root, "schemas"))
	if err != nil {
		return err
	}
	outputs, err := messages(files)
	if err != nil {
		return err
	}
	all := catalogueOf(files)
	pages, err := render(all)
	if err != nil {
		return err
	}
	maps.Copy(outputs, pages)
	tables, err := bridge(all)
	if err != nil {
		return err
	}
	maps.Copy(outputs, tables)
	return write(outputs, into)
}

func write(outputs map[string][]byte, into string) error {
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		path := filepath.Join(into, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, outputs[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}
