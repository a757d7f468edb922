package config

import (
	"io"
	"os"
	"path/filepath"
)

// Read reads the file at path. The error is [Errors] for what is wrong inside the file, and else the operating system's.
func Read(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse reads data as the file with that name, which stands in errors and says where relative paths start. The error is
// always [Errors]. It opens no other file: whether those that are named exist is not looked at.
func Parse(name string, data []byte) (*Config, error) {
	d := &decoder{file: name}
	c := &Config{Budget: DefaultBudget}
	if root, ok := d.root(data); ok {
		schema{filepath.Dir(name)}.config(root, c)
	}
	if len(d.problems) > 0 {
		d.problems.sort()
		return nil, d.problems
	}
	return c, nil
}
