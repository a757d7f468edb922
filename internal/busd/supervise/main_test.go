package supervise

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

const (
	childEnv = "SUPERVISE_CHILD" // set: this is not a test, but a worker
	dialEnv  = "SUPERVISE_DIAL"  // where it reports; see dial
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(children[os.Args[1]](os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

// children are the programs that the tests supervise. Each returns its exit status.
var children = map[string]func(args []string) int{
	"exit":     func(args []string) int { return number(args[0]) },
	"say":      say,
	"flood":    flood,
	"serve":    serve,
	"stubborn": stubborn,
	"needs":    needs,
	"leave":    leave,
	"busd":     busd,
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 100
	}
	return n
}

// say writes its arguments to stdout and stderr in turn and exits with status 3.
func say(args []string) int {
	for i, text := range args {
		fmt.Fprint([]*os.File{os.Stdout, os.Stderr}[i%2], text)
	}
	return 3
}

// flood writes 64 MiB of one line, and a short one.
func flood([]string) int {
	block := bytes.Repeat([]byte("x"), 1<<20)
	for range 64 {
		os.Stdout.Write(block)
	}
	fmt.Print("\nend\n")
	return 0
}

// dial connects to the test and says so; the connection ends with the process.
func dial(say string) net.Conn {
	c, err := net.Dial("tcp", os.Getenv(dialEnv))
	if err != nil {
		os.Exit(101)
	}
	fmt.Fprintln(c, say, os.Getenv(WorkerEnv))
	return c
}

// serve runs until SIGTERM, reports that it drains, and ends when it is told to. It reports another SIGTERM, too.
func serve([]string) int {
	asked := make(chan os.Signal, 10)
	signal.Notify(asked, syscall.SIGTERM)
	fmt.Println("up")
	c := dial("up")
	<-asked
	fmt.Fprintln(c, "draining")
	c.Read(make([]byte, 1))
	if len(asked) > 0 {
		fmt.Fprintln(c, "asked again")
	}
	return 0
}

// stubborn does not end.
func stubborn([]string) int {
	signal.Ignore(syscall.SIGTERM)
	c := dial("up")
	fmt.Println("up")
	for {
		c.Read(make([]byte, 1))
	}
}

// needs refuses its configuration until a file exists.
func needs(args []string) int {
	if _, err := os.Stat(args[0]); err != nil {
		fmt.Fprintln(os.Stderr, `{"level":"error","error":"config.deny: not a list","message":"refused"}`)
		return Refused
	}
	return serve(nil)
}

// leave exits with status 3 and leaves a child behind.
func leave(args []string) int {
	cmd := exec.Command(os.Args[0], args...)
	out, err := cmd.StdoutPipe()
	if err != nil || cmd.Start() != nil {
		return 102
	}
	out.Read(make([]byte, 1))
	return 3
}

// busd supervises one worker until it is killed.
func busd(args []string) int {
	err := New(Options{Command: append([]string{os.Args[0]}, args...), Env: os.Environ()}).Run(context.Background())
	fmt.Fprintln(os.Stderr, err)
	return 103
}

func self(args ...string) []string { return append([]string{os.Args[0]}, args...) }

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
