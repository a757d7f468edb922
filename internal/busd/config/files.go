package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// use is the purpose of a path in the file.
type use int

const (
	plain   use = iota // a file that busd reads
	secret             // a file that busd reads, and no other user should
	token              // a secret of one line
	awaited            // a token that busd reads as soon as it is there
	made               // a secret that busd makes if there is none
	folder             // a folder that busd writes to, and makes if need be
	program            // and its arguments
)

// named is a path that the file names.
type named struct {
	Problem // without a text
	use     use
	words   []string
}

func (v value) names(u use, words ...string) {
	if len(words) > 0 && words[0] != "" {
		v.named = append(v.named, named{v.problem(v.node, ""), u, words})
	}
}

// CheckFiles looks at the files and programs that the configuration names. problems would keep busd from working;
// warnings are probably mistakes. It opens files, but runs nothing.
func (c *Config) CheckFiles() (problems, warnings Errors) {
	return c.check(func(use) bool { return true })
}

// CheckNeeds is CheckFiles for what busd must have when it starts. It starts without programs of modules, and without
// tokens of antispam servers: these may be put there later.
func (c *Config) CheckNeeds() (problems Errors) {
	problems, _ = c.check(func(u use) bool { return u != program && u != awaited })
	return problems
}

func (c *Config) check(wanted func(use) bool) (problems, warnings Errors) {
	for _, n := range c.named {
		if !wanted(n.use) {
			continue
		}
		wrong, odd := n.look()
		if wrong != "" {
			problems = append(problems, n.says(wrong))
		}
		if odd != "" {
			warnings = append(warnings, n.says(odd))
		}
	}
	return problems, warnings
}

// CheckKeyFile calls check with the path of the policy server's key, if the configuration has a policy server.
func (c *Config) CheckKeyFile(check func(path string) error) (problems Errors) {
	for _, n := range c.named {
		if n.use != made {
			continue
		}
		if err := check(n.words[0]); err != nil {
			problems = append(problems, n.says(err.Error()))
		}
	}
	return problems
}

func (n named) says(text string) Problem {
	n.Text = text
	return n.Problem
}

func (n named) look() (wrong, odd string) {
	switch n.use {
	case folder:
		return lookAtFolder(n.words[0]), ""
	case program:
		return lookAtProgram(n.words), ""
	}
	return lookAtFile(n.words[0], n.use)
}

func lookAtFile(name string, u use) (wrong, odd string) {
	f, err := os.Open(name)
	if u == made && errors.Is(err, fs.ErrNotExist) {
		return "", ""
	}
	if err != nil {
		return fmt.Sprintf("cannot read %s: %v", name, reason(err)), ""
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return fmt.Sprintf("cannot read %s: %v", name, reason(err)), ""
	case info.IsDir():
		return name + " is a folder, not a file", ""
	case info.Mode().IsRegular() && info.Size() == 0:
		return name + " is empty", ""
	case u != plain && info.Mode().Perm()&0o004 != 0:
		odd = name + " can be read by everybody on this machine (chmod o-r " + name + ")"
	}
	if info.Mode().IsRegular() && (u == token || u == awaited) { // What a pipe holds can be read once, and not here.
		wrong = lookAtToken(f, name)
	}
	return wrong, odd
}

// lookAtToken returns why a file holds no token. It reads no more of it than any token has.
func lookAtToken(f io.Reader, name string) string {
	const longest = 64 << 10
	text, err := io.ReadAll(io.LimitReader(f, longest))
	if err == nil {
		_, err = tokenIn(text)
	}
	if err != nil {
		return name + " " + reason(err).Error()
	}
	return ""
}

// lookAtFolder returns what is wrong with a folder: it is not one, or it does not exist and cannot be made.
func lookAtFolder(name string) string {
	info, err := os.Stat(name)
	if err == nil && !info.IsDir() {
		return name + " is not a folder"
	}
	return ""
}

// lookAtProgram looks at a program as a process in busd's own folder would be started, and at the package of `go run`.
func lookAtProgram(command []string) string {
	path, err := exec.LookPath(command[0])
	if err != nil {
		return fmt.Sprintf("cannot run %s: %v (programs are looked for where busd is started, and in PATH)", quote(command[0]), reason(err))
	}
	if filepath.Base(path) != "go" || len(command) < 3 || command[1] != "run" {
		return ""
	}
	for _, arg := range command[2:] {
		if strings.HasPrefix(arg, "-") {
			continue
		}
		if _, err := os.Stat(arg); err != nil && (strings.HasPrefix(arg, ".") || filepath.IsAbs(arg)) {
			return fmt.Sprintf("cannot run %s: %v (it counts from where busd is started)", quote(arg), reason(err))
		}
		return ""
	}
	return ""
}

// reason removes the path from an error, because the problem names it anyway.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*exec.Error](err); ok {
		return e.Err
	}
	return err
}
