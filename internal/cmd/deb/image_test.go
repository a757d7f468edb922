package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// image is the root of a file system with what the last stage of the Dockerfile copies into it.
type image struct {
	*testing.T
	lines []string // of the stage
	root  string
}

var made = regexp.MustCompile(`(?s)\nRUN (install -d [^\n]*? /rootfs/.*?[^\\])\n`)

// TestImageHasNoShellAndRuns makes what the image of busd is, without Docker, and runs it in there: with the flags, the environment and
// the commands that the Dockerfile has.
func TestImageHasNoShellAndRuns(t *testing.T) {
	t.Chdir("../../..")
	i := &image{T: t, root: t.TempDir()}
	i.make()
	if err := i.command("version").Run(); err != nil {
		if exec.Command("unshare", "-r", "true").Run() != nil {
			t.Skip("this kernel lets nobody but root enter a root folder (no user namespaces), so busd cannot be run in the image")
		}
		t.Fatal(err)
	}
	url := i.configure()
	busd := i.command(i.words("CMD")...)
	said, err := busd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := busd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || !strings.HasPrefix(line, "busd: ready") {
		t.Errorf("it says %q: %v", line, err)
	}
	health := i.words("HEALTHCHECK")[1:]
	if err := i.command(append(health, "--url", url)...).Run(); err != nil {
		t.Errorf("it is not well: %v", err)
	}
	if err := busd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := busd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if i.command(append(health, "--url", url)...).Run() == nil {
		t.Error("it is well, and is not there")
	}
}

// make fills the root.
func (i *image) make() {
	i.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		i.Fatal(err)
	}
	_, stage, _ := strings.Cut(string(text)[strings.LastIndex(string(text), "\nFROM "):], "FROM ")
	i.lines = strings.Split(stage, "\n")
	if i.lines[0] != "scratch AS busd" || strings.Contains(stage, "\nRUN ") || len(i.words("ENTRYPOINT")) != 1 {
		i.Fatalf("the last stage has more than busd: it is from %s", i.lines[0])
	}
	from := i.TempDir()
	b := &build{root: ".", out: filepath.Join(from, "out"), arch: runtime.GOARCH}
	if err := b.program(); err != nil {
		i.Fatal(err)
	}
	folders := made.FindStringSubmatch(string(text))
	if folders == nil {
		i.Fatal("the stage before makes no folders")
	}
	i.must("sh", "-euc", strings.NewReplacer("/rootfs/", from+"/rootfs/", "\\\n", "").Replace(folders[1]))
	for _, line := range i.lines {
		if words := strings.Fields(line); len(words) > 3 && words[0] == "COPY" {
			i.copy(from, words[len(words)-2], words[len(words)-1])
		}
	}
}

// copy is COPY of a stage whose files are in a folder.
func (i *image) copy(from, source, target string) {
	i.Helper()
	if strings.HasPrefix(source, "/etc/ssl/") { // Of the base image.
		return
	}
	target = i.root + target
	i.must("mkdir", "-p", filepath.Dir(target))
	i.must("cp", "-aT", from+source, target)
}

func (i *image) must(name string, args ...string) {
	i.Helper()
	if out, err := exec.CommandContext(i.Context(), name, args...).CombinedOutput(); err != nil {
		i.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// words are those of an instruction, which must not need a shell.
func (i *image) words(instruction string) (words []string) {
	i.Helper()
	for _, line := range i.lines {
		if _, list, found := strings.Cut(line, "["); found && strings.HasPrefix(line, instruction+" ") {
			if err := json.Unmarshal([]byte("["+list), &words); err != nil {
				i.Fatalf("%s: %v", line, err)
			}
			return words
		}
	}
	i.Fatalf("there is no %s without a shell", instruction)
	return nil
}

// configure writes a configuration, and returns where busd listens with it.
func (i *image) configure() (url string) {
	i.Helper()
	l, err := (&net.ListenConfig{}).Listen(i.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		i.Fatal(err)
	}
	at := l.Addr().String()
	i.must("mkdir", "-p", i.root+"/etc/modulebus")
	text := fmt.Sprintf("server_name: example.com\nnats: {listen: '127.0.0.1:0'}\nhttp: {listen: '%s'}\n", at)
	if err := os.WriteFile(i.root+"/etc/modulebus/busd.yaml", []byte(text), 0o644); err != nil {
		i.Fatal(err)
	}
	if err := l.Close(); err != nil {
		i.Fatal(err)
	}
	return "http://" + at
}

// command is busd in the image.
func (i *image) command(args ...string) *exec.Cmd {
	program := "/usr/local/bin/" + i.words("ENTRYPOINT")[0]
	c := exec.CommandContext(i.Context(), "unshare", append([]string{"-r", "--root=" + i.root, program}, args...)...)
	for _, line := range i.lines {
		if settings, found := strings.CutPrefix(line, "ENV "); found {
			c.Env = strings.Fields(settings)
		}
	}
	c.Stderr = i.Output()
	return c
}
