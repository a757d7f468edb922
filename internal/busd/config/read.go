package config

import (
	"io"
	"os"
	"path/filepath"
)

// Read reads the file at path. The error is [Errors] for mistakes in the file, or the operating system's if it cannot
// be read.
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

// Parse reads data as a file with the given name, which errors show, and whose folder relative paths start from. The
// error is always [Errors]. It opens no file: [Config.CheckFiles] does.
func Parse(name string, data []byte) (*Config, error) {
	r := &reading{file: name, folder: filepath.Dir(name)}
	c := &Config{
		NATS:   NATS{Listen: DefaultNATSListen, MaxPayload: DefaultMaxPayload, MaxStore: DefaultMaxStore},
		HTTP:   HTTP{Listen: DefaultHTTPListen, Web: DefaultWeb},
		Budget: DefaultBudget, Decisions: DefaultDecisions,
	}
	if root, ok := r.root(data); ok {
		c.read(root)
	}
	for _, check := range r.last {
		check()
	}
	if len(r.problems) > 0 {
		r.problems.sort()
		return nil, r.problems
	}
	if c.StateDir == "" {
		c.StateDir = stateDir(c.ServerName, os.Getenv)
	}
	if p := c.PolicyServer; p != nil && p.KeyFile == "" && c.StateDir != "" {
		p.KeyFile = filepath.Join(c.StateDir, "policy.key")
	}
	r.warnings.sort()
	c.Warnings, c.named, c.places = r.warnings, r.named, r.places
	return c, nil
}

// stateDir is the default of state_dir: systemd's folder for state, or the user's; empty for a process without either.
func stateDir(server string, getenv func(string) string) string {
	if list := filepath.SplitList(getenv("STATE_DIRECTORY")); len(list) > 0 {
		return list[0]
	}
	state := getenv("XDG_STATE_HOME")
	if home := getenv("HOME"); !filepath.IsAbs(state) && home != "" {
		state = filepath.Join(home, ".local", "state")
	}
	if state == "" {
		return ""
	}
	return filepath.Join(state, "modulebus", server)
}
