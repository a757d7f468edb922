package config

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// use is the purpose of a path in the file.
type use int

const (
	plain       use = iota // a file that busd reads
	secret                 // a file that busd reads, and no other user should
	token                  // a secret of one line
	awaited                // a token that busd reads as soon as it is there
	made                   // a secret that busd makes if there is none
	authorities            // a PEM file with certificates
	certified              // two PEM files: a certificate, and its key
	folder                 // a folder that busd writes to, and makes if need be
	program                // and its arguments
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
	case certified:
		return lookAtPair(n.words[0], n.words[1], time.Now())
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
	case u != plain && u != authorities && info.Mode().Perm()&0o004 != 0:
		odd = name + " can be read by everybody on this machine (chmod o-r " + name + ")"
	}
	switch {
	case !info.Mode().IsRegular(): // What a pipe holds can be read once, and not here.
	case u == authorities:
		wrong = lookAtAuthorities(f, name)
	case u == token || u == awaited:
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

// lookAtAuthorities returns why a file has no authority that could be trusted.
func lookAtAuthorities(f io.Reader, name string) string {
	text, err := io.ReadAll(io.LimitReader(f, maxPEM))
	switch {
	case err != nil:
		return name + " " + reason(err).Error()
	case !x509.NewCertPool().AppendCertsFromPEM(text):
		return name + " has no certificate in PEM"
	}
	return ""
}

// lookAtPair returns what is wrong with a certificate and its key. Of files that cannot be read, others tell.
func lookAtPair(cert, key string, now time.Time) (wrong, odd string) {
	chain, noCert := readPEM(cert)
	private, noKey := readPEM(key)
	if noCert != nil || noKey != nil {
		return "", ""
	}
	made, err := tls.X509KeyPair(chain, private)
	if err != nil {
		return fmt.Sprintf("%s is not the certificate of the key in %s: %v", cert, key, err), ""
	}
	return "", Outdated(cert, made.Leaf, now)
}

// Outdated says that a certificate does not count at a time, and what to do; empty if it does.
func Outdated(file string, c *x509.Certificate, now time.Time) string {
	at := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	switch {
	case now.After(c.NotAfter):
		return fmt.Sprintf("%s has expired at %s, and it is %s: others will not trust it (put a new one in its place, or set the clock)",
			file, at(c.NotAfter), at(now))
	case now.Before(c.NotBefore):
		return fmt.Sprintf("%s counts from %s on, and it is %s: others will not trust it until then (set the clock, or wait)",
			file, at(c.NotBefore), at(now))
	}
	return ""
}

// maxPEM is how many bytes of a file of certificates or keys are looked at. Beyond: what follows is not looked at before it is used.
const maxPEM = 4 << 20

var errPipe = errors.New("what it holds can be read once, and not here")

func readPEM(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, cmp.Or(err, errPipe)
	}
	return io.ReadAll(io.LimitReader(f, maxPEM))
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
