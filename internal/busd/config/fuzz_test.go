package config

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

var place = regexp.MustCompile(`^busd\.yaml:[1-9][0-9]*:[1-9][0-9]*: .`)

// FuzzParse looks for a file that makes Parse panic, an error without its place, or a Config that breaks what it promises.
func FuzzParse(f *testing.F) {
	for _, folder := range []string{"good", "bad"} {
		for _, path := range seeds(f, folder) {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("busd.yaml", data)
		if err != nil {
			checkErrors(t, err)
			return
		}
		if c.ServerName == "" || c.Budget <= 0 || (c.NATS.URL == "") == (c.NATS.Listen == "") || c.String() == "" {
			t.Errorf("got %+v", *c)
		}
		for _, m := range c.Modules {
			if m.Name == "" || m.Workers < 1 || m.Timeout <= 0 || m.Hedge < 0 || m.Hedge >= m.Timeout || !json.Valid(m.Config) {
				t.Errorf("got %+v", m)
			}
		}
	})
}

func seeds(f *testing.F, folder string) []string {
	entries, err := os.ReadDir("testdata/" + folder)
	if err != nil {
		f.Fatal(err)
	}
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".yaml") {
			paths = append(paths, "testdata/"+folder+"/"+e.Name())
		}
	}
	return paths
}

func checkErrors(t *testing.T, err error) {
	var problems Errors
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Fatalf("got %#v", err)
	}
	line := 0
	for _, p := range problems {
		if s := p.String(); !place.MatchString(s) || strings.Contains(s, "\n") || p.Text == "" {
			t.Errorf("got %q", s)
		}
		if p.Line < line {
			t.Errorf("line %d comes after %d", p.Line, line)
		}
		line = p.Line
	}
}
