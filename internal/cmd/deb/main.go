// Command deb builds the Debian package of busd: the program, its man pages and completions, and what deploy/debian has.
//
//	make package
//
// It prints where the package is.
package main

import (
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/modulebus/modulebus/internal/busd/cli"
	"github.com/spf13/cobra/doc"
)

func main() {
	b := build{}
	flag.StringVar(&b.root, "root", "../../..", "the repository")
	flag.StringVar(&b.out, "out", "dist", "folder for the package, and what it is made from")
	flag.StringVar(&b.version, "version", "", "version of the package (default: of the newest tag)")
	flag.StringVar(&b.arch, "arch", runtime.GOARCH, "what machine it is for, as Go spells it")
	flag.Parse()
	path, err := b.run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "deb:", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, path)
}

// build is one build of the package.
type build struct{ root, out, version, arch string }

func (b *build) run() (path string, err error) {
	for _, step := range []func() error{b.locate, b.program, b.manPages, b.completions} {
		if err := step(); err != nil {
			return "", err
		}
	}
	return b.pack()
}

// locate makes paths absolute, goes to the repository, and finds out the version.
func (b *build) locate() (err error) {
	for _, p := range []*string{&b.root, &b.out} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if err = os.Chdir(b.root); err == nil && b.version == "" {
		b.version, err = described()
	}
	return err
}

// described is the newest tag's version, with what came after it; 0.0.0 where there is no tag.
func described() (string, error) {
	out, err := command("git", "describe", "--tags", "--match=v*", "--always", "--dirty").Output()
	if err != nil {
		return "", fmt.Errorf("cannot tell the version: %w: name it with -version", err)
	}
	text := strings.TrimSpace(string(out))
	if version, tagged := strings.CutPrefix(text, "v"); tagged {
		version = strings.Replace(version, "-rc", "~rc", 1) // Before the release, as Debian sorts.
		return strings.ReplaceAll(version, "-", "+"), nil
	}
	return "0.0.0+" + strings.ReplaceAll(text, "-", "+"), nil
}

func command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Stderr = os.Stderr
	return c
}

func (b *build) program() error {
	c := command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(b.out, "busd"), "./cmd/busd")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+b.arch)
	return c.Run()
}

// manPages writes a page for each command, compressed as Debian has them.
func (b *build) manPages() error {
	dir := filepath.Join(b.out, "man")
	if err := fresh(dir); err != nil {
		return err
	}
	root := cli.Command()
	root.DisableAutoGenTag = true
	date := time.Unix(0, 0).UTC() // The same source makes the same page.
	header := doc.GenManHeader{Title: "BUSD", Section: "1", Source: "modulebus", Manual: "modulebus", Date: &date}
	if err := doc.GenManTree(root, &header, dir); err != nil {
		return err
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	for _, page := range pages {
		err = errors.Join(err, compress(page))
	}
	return err
}

func (b *build) completions() error {
	dir := filepath.Join(b.out, "completion")
	if err := fresh(dir); err != nil {
		return err
	}
	root := cli.Command()
	root.InitDefaultCompletionCmd()
	return errors.Join(
		root.GenBashCompletionFileV2(filepath.Join(dir, "busd"), true),
		root.GenZshCompletionFile(filepath.Join(dir, "_busd")),
		root.GenFishCompletionFile(filepath.Join(dir, "busd.fish"), true),
	)
}

func (b *build) pack() (path string, err error) {
	values := map[string]string{"ARCH": b.arch, "VERSION": b.version, "OUT": b.out}
	config, err := nfpm.ParseFileWithEnvMapping("deploy/debian/package.yml", func(name string) string { return values[name] })
	if err != nil {
		return "", err
	}
	info, err := config.Get("deb")
	if err != nil {
		return "", err
	}
	packager, err := nfpm.Get("deb")
	if err != nil {
		return "", err
	}
	info = nfpm.WithDefaults(info)
	path = filepath.Join(b.out, packager.ConventionalFileName(info))
	return path, write(path, func(w io.Writer) error { return packager.Package(info, w) })
}

// fresh makes an empty folder.
func fresh(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

// compress puts page.gz in place of page.
func compress(page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	err = write(page+".gz", func(w io.Writer) error {
		z := gzip.NewWriter(w)
		_, err := z.Write(text)
		return errors.Join(err, z.Close())
	})
	return errors.Join(err, os.Remove(page))
}

func write(path string, fill func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}
