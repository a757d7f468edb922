package pid1_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modulebus/modulebus/internal/busd/pid1"
)

// This program runs again as a first process, and that one runs it as the program; see the cases of main.
const role = "PID1_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "first":
		const setChildSubreaper = 36 // Orphans among its descendants become its children, as a container's do.
		if _, _, err := syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); err != 0 {
			fmt.Println(err)
		}
		_ = os.Setenv(role, "program")
		os.Exit(pid1.Run(os.Args))
	case "program":
		program()
	}
	os.Exit(m.Run())
}

// program leaves orphans, whose numbers it says, and ends as it is told to.
func program() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGHUP)
	for range 10 {
		out, err := exec.Command("sh", "-c", "sleep 0 >/dev/null & echo $!").Output()
		if err != nil {
			fmt.Println(err)
		}
		fmt.Print(string(out))
	}
	fmt.Println("ready")
	if <-told == syscall.SIGHUP {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	os.Exit(7)
}

// first runs a first process until its program is ready, and returns the orphans' numbers.
func first(t *testing.T) (p *exec.Cmd, orphans []string) {
	t.Helper()
	p = exec.Command(os.Args[0])
	p.Env = append(os.Environ(), role+"=first")
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Signal(syscall.SIGTERM); _ = p.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "ready" {
			return p, orphans
		}
		orphans = append(orphans, lines.Text())
	}
	t.Fatal("the program does not become ready")
	return nil, nil
}

func TestOrphansAreWaitedFor(t *testing.T) {
	t.Parallel()
	_, orphans := first(t)
	if len(orphans) != 10 {
		t.Fatalf("orphans: %q", orphans)
	}
	deadline, tick := time.After(30*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for _, pid := range orphans {
		for there(pid) {
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("orphan %s is still there: %s", pid, stat(pid))
			}
		}
	}
}

func stat(pid string) string {
	text, _ := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	return string(text)
}

// there reports whether a process, or a zombie, has the number and is one of sleep.
func there(pid string) bool { return strings.Contains(stat(pid), "(sleep)") }

func TestStatusIsTheProgramsOwn(t *testing.T) {
	t.Parallel()
	for s, want := range map[syscall.Signal]int{syscall.SIGTERM: 7, syscall.SIGHUP: 128 + int(syscall.SIGKILL)} {
		p, _ := first(t)
		if err := p.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		_ = p.Wait()
		if got := p.ProcessState.ExitCode(); got != want {
			t.Errorf("after %v the status is %d, want %d", s, got, want)
		}
	}
}

func TestReapingIsForTheFirstProcessAlone(t *testing.T) {
	t.Parallel()
	if pid1.Needed() != (os.Getpid() == 1) {
		t.Error("this process is taken for what it is not")
	}
}
