package nearby_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/modulebus/modulebus/internal/tunnel/nearby"
	"github.com/modulebus/modulebus/internal/waittest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway expects a line for each of its streams, once.
type gateway struct {
	mu      sync.Mutex
	streams map[string]*nearby.Line // nil until it has come
	frames  map[string][][]byte
	parted  chan string
	met     func(*nearby.Line) // is called by Meet; nil for nothing
}

func (g *gateway) Meet(token string, l *nearby.Line) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if before, expected := g.streams[token]; !expected || before != nil {
		return false
	}
	g.streams[token] = l
	if g.met != nil {
		g.met(l)
	}
	return true
}

func (g *gateway) ReceiveNearby(token string, frame []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.frames[token] = append(g.frames[token], frame)
}

func (g *gateway) Parted(token string, used bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if got := len(g.frames[token]) > 0; got != used {
		panic(fmt.Sprintf("frames came: %v, and Parted was told %v", got, used))
	}
	g.parted <- token
}

// hosted is a gateway with the streams, and its name.
func hosted(t *testing.T, streams ...string) (g *gateway, place *nearby.Place, name string) {
	t.Helper()
	g = &gateway{streams: map[string]*nearby.Line{}, frames: map[string][][]byte{}, parted: make(chan string, 1000)}
	for _, s := range streams {
		g.streams[s] = nil
	}
	name = rand.Text()
	place, err := nearby.Open(name, g)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(place.Close)
	return g, place, name
}

func folder() string { return filepath.Join(os.TempDir(), "modulebus-"+strconv.Itoa(os.Geteuid())) }

func reach(t *testing.T, gateway, token string) *nearby.Line {
	t.Helper()
	l, err := nearby.Reach(gateway, token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func TestLineCarriesFramesInOrder(t *testing.T) {
	t.Parallel()
	g, _, name := hosted(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		token := "s" + strconv.Itoa(n)
		n++
		g.mu.Lock()
		g.streams[token] = nil
		g.mu.Unlock()
		l, err := nearby.Reach(name, token)
		if err != nil {
			rt.Fatal(err)
		}
		frames := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 3000), 0, 20).Draw(rt, "frames")
		for _, f := range frames {
			if err := l.Send(f); err != nil {
				rt.Fatal(err)
			}
		}
		l.Leave()
		<-g.parted
		l.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.frames[token]) != len(frames) {
			rt.Fatalf("%d frames arrived of %d", len(g.frames[token]), len(frames))
		}
		for i := range frames {
			if !bytes.Equal(g.frames[token][i], frames[i]) {
				rt.Fatalf("frame %d is another", i)
			}
		}
	})
}

func TestLineGoesOnBehindAWorkerThatLeft(t *testing.T) {
	t.Parallel()
	g, _, name := hosted(t, "token")
	l := reach(t, name, "token")
	l.Leave()
	<-g.parted // The gateway closes its side then; what it sent before still arrives.
	if err := l.Receive(func([]byte) {}); err != nil {
		t.Error(err)
	}
}

func TestLineOfTheGatewayReachesTheWorker(t *testing.T) {
	t.Parallel()
	g, place, name := hosted(t, "token")
	l := reach(t, name, "token")
	if err := g.streams["token"].Send([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	var got []string
	heard := make(chan error, 1)
	came := make(chan struct{})
	go func() {
		heard <- l.Receive(func(f []byte) { got = append(got, string(f)); close(came) })
	}()
	<-came
	place.Close()
	<-heard
	if len(got) != 1 || got[0] != "hello" {
		t.Errorf("got %q", got)
	}
}

// TestLineThatTheOtherSideHasClosedStillGivesWhatItHas has a side that sends something behind that end before it reads.
func TestLineThatTheOtherSideHasClosedStillGivesWhatItHas(t *testing.T) {
	t.Parallel()
	g, _, name := hosted(t, "token")
	l := reach(t, name, "token")
	if err := g.streams["token"].Send([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	g.streams["token"].Close()
	<-g.parted
	if err := l.Send([]byte("more")); err == nil {
		t.Fatal("a frame is sent that nobody reads")
	}
	if got, err := l.Next(); string(got) != "hello" {
		t.Errorf("got %q: %v", got, err)
	}
}

// TestLineBeginsWithTheAnswer has a gateway that sends as soon as it has a line.
func TestLineBeginsWithTheAnswer(t *testing.T) {
	t.Parallel()
	g, place, name := hosted(t, "token")
	sent := make(chan error, 1)
	g.met = func(l *nearby.Line) {
		go func() { sent <- l.Send([]byte("hello")) }()
		const moment = 20 * time.Millisecond
		select {
		case err := <-sent: // Before the answer.
			sent <- err
		case <-time.After(moment):
		}
	}
	l := reach(t, name, "token")
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	place.Close()
	var got []string
	if err := l.Receive(func(f []byte) { got = append(got, string(f)) }); err != nil {
		t.Error(err)
	}
	if len(got) != 1 || got[0] != "hello" {
		t.Errorf("got %q", got)
	}
}

// TestLineThatSentHalfAFrameSendsNoMore has a gateway that takes nothing for a while.
func TestLineThatSentHalfAFrameSendsNoMore(t *testing.T) {
	t.Parallel()
	g, _, name := hosted(t, "token")
	l := reach(t, name, "token")
	g.mu.Lock() // The gateway waits.
	failed := make(chan error)
	go func() {
		var err error
		for err == nil {
			err = l.Send(make([]byte, nearby.MaxFrame))
		}
		failed <- err
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	var err error
	for err == nil {
		select {
		case err = <-failed:
		case <-tick.C:
			l.GiveUp()
		}
	}
	g.mu.Unlock()
	if err := l.Send([]byte("more")); err == nil {
		t.Fatal("a frame is sent behind half of another")
	}
	<-g.parted
}

func TestReachNeedsATokenThatIsExpectedOnce(t *testing.T) {
	t.Parallel()
	_, _, name := hosted(t, "token")
	for gateway, token := range map[string]string{
		name: "other", "Gone": "token", "../" + name: "token", "": "token", "a/b": "token", "G": strings.Repeat("t", 1000),
	} {
		if l, err := nearby.Reach(gateway, token); err == nil {
			l.Close()
			t.Errorf("%q has a line for %q", gateway, token)
		}
	}
	reach(t, name, "token")
	if l, err := nearby.Reach(name, "token"); err == nil {
		l.Close()
		t.Error("a token was good for two lines")
	}
}

func TestPlaceIsInAFolderOfThisUserAlone(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, place, _ := hosted(t)
	place.Close()
	if err := os.Chmod(folder(), 0o755); err != nil {
		t.Fatal(err)
	}
	if p, err := nearby.Open("G", &gateway{}); err == nil {
		p.Close()
		t.Error("a gateway waits where others can come")
	}
	if _, err := nearby.Reach("G", "token"); err == nil || !strings.Contains(err.Error(), "0700") {
		t.Errorf("got %v", err)
	}
	elsewhere := folder() + "-moved" // It would be good, if it were no link that led there.
	if err := errors.Join(os.Rename(folder(), elsewhere), os.Chmod(elsewhere, 0o700), os.Symlink(elsewhere, folder())); err != nil {
		t.Fatal(err)
	}
	if _, err := nearby.Reach("G", "token"); err == nil || !strings.Contains(err.Error(), "0700") {
		t.Errorf("behind a symbolic link: %v", err)
	}
}

// TestPlaceIsInNoFolderOfSomebodyElse has one that a local user has made before, with the name that this user's would have.
func TestPlaceIsInNoFolderOfSomebodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	t.Setenv("TMPDIR", t.TempDir())
	_, place, _ := hosted(t)
	place.Close()
	if err := os.Chown(folder(), 10001, 10001); err != nil {
		t.Fatal(err)
	}
	if p, err := nearby.Open("G", &gateway{}); err == nil {
		p.Close()
		t.Error("a gateway waits in a folder of somebody else")
	}
	if _, err := nearby.Reach("G", "token"); err == nil || !strings.Contains(err.Error(), "of this user") {
		t.Errorf("a worker goes into a folder of somebody else: %v", err)
	}
}

func TestOpenRemovesWhatAKilledGatewayLeft(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, _, living := hosted(t)
	for name, age := range map[string]time.Duration{"Dead": time.Hour, "Beginning": 0} {
		at := filepath.Join(folder(), name)
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: at})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		_ = dead.Close()
		if err := os.Chtimes(at, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	p, err := nearby.Open("Next", &gateway{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := os.Stat(filepath.Join(folder(), "Dead")); !os.IsNotExist(err) {
		t.Errorf("the dead one's socket: %v", err)
	}
	if _, err := os.Stat(filepath.Join(folder(), "Beginning")); err != nil {
		t.Errorf("that of one which does not listen yet: %v", err)
	}
	if _, err := os.Stat(filepath.Join(folder(), living)); err != nil {
		t.Error(err)
	}
}

func TestLineEndsAtWhatIsNoFrame(t *testing.T) {
	t.Parallel()
	g, _, name := hosted(t, "token")
	conn, err := net.Dial("unix", filepath.Join(folder(), name))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("\x05token\xff\xff\xff\xff")); err != nil {
		t.Fatal(err)
	}
	if got := <-g.parted; got != "token" {
		t.Errorf("got %q", got)
	}
	if err := (&nearby.Line{}).Send(make([]byte, nearby.MaxFrame+1)); err == nil {
		t.Error("a frame over the limit was sent")
	}
}

func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	const most = 256
	g, _, name := hosted(t)
	for i := range most + 1 {
		g.streams["s"+strconv.Itoa(i)] = nil
	}
	var lines nearby.Lines
	end := make(chan struct{})
	for i := range most {
		open := func() (*nearby.Line, error) { return nearby.Reach(name, "s"+strconv.Itoa(i)) }
		if _, err := lines.Go(open, func(*nearby.Line) { <-end }); err != nil {
			t.Fatalf("line %d was refused: %v", i, err)
		}
	}
	refused := func(when string) {
		// A gateway that is asked, and then left alone, takes that for the end of the stream.
		open := func() (*nearby.Line, error) { t.Errorf("a line is opened %s", when); return nil, os.ErrInvalid }
		if _, err := lines.Go(open, nil); err == nil {
			t.Errorf("there is one line more %s", when)
		}
	}
	if _, err := nearby.Reach(name, "s"+strconv.Itoa(most)); err == nil {
		t.Error("a gateway has no bound")
	}
	refused("beyond the bound")
	close(end)
	lines.Close()
	refused("after Close")
}

func TestReachGivesUpOnAGatewayThatSaysNothing(t *testing.T) {
	t.Parallel()
	name := rand.Text()
	hosted(t) // Makes the folder.
	mute, err := net.Listen("unix", filepath.Join(folder(), name))
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	began := time.Now()
	if _, err := nearby.Reach(name, "token"); err == nil {
		t.Error("it has a line")
	}
	t.Logf("after %v", time.Since(began))
}

// TestPlaceLetsNobodyInWhoSaysHalfAToken has as many connections as there may be send part of a token, and no more.
func TestPlaceLetsNobodyInWhoSaysHalfAToken(t *testing.T) {
	t.Parallel()
	const most = 256
	_, _, name := hosted(t, "token")
	var silent []net.Conn
	for range most {
		conn, err := net.Dial("unix", filepath.Join(folder(), name))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("\x05tok")); err != nil {
			t.Fatal(err)
		}
		silent = append(silent, conn)
	}
	for _, conn := range silent {
		if n, err := conn.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Fatalf("half a token is answered with %d bytes", n)
		}
	}
	waittest.Until(t, "there is room again", func() bool {
		l, err := nearby.Reach(name, "token")
		if err == nil {
			l.Close()
		}
		return err == nil
	})
}
