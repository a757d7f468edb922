package layers_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// permits are licences under which a module may be part of a program that anybody may use, by a phrase of each.
var permits = regexp.MustCompile(`Apache License\s+Version 2\.0|Permission is hereby granted, free of charge|` +
	`Permission to use, copy, modify, and(?:/or)? distribute this software|Redistribution and use in source and binary forms|Mozilla Public License,? [Vv]ersion 2\.0`)

// TestDependenciesHaveLicencesThatPermitUse reads the licences of all modules that are linked into programs and packages here.
func TestDependenciesHaveLicencesThatPermitUse(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}", "./...")
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		module, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		if module == "" || seen[module] {
			continue
		}
		seen[module] = true
		if !permits.MatchString(licence(t, dir)) {
			t.Errorf("%s: no licence in %s that is known to permit use (if it does, add a phrase of it)", module, dir)
		}
	}
	if len(seen) < 10 {
		t.Errorf("found only %d modules", len(seen))
	}
}

// licence is the text of a module's licence files.
func licence(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.IsDir() || !strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		text.Write(data)
	}
	return text.String()
}
