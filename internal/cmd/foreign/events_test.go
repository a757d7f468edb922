package foreign_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	sse "github.com/tmaxmax/go-sse"
)

// TestEvents has the client of go-sse come back, with the Last-Event-ID that it saw, to a server that ends the stream
// after every third event.
func TestEvents(t *testing.T) {
	t.Parallel()
	suite[[]string]{handler: below(http.HandlerFunc(threeEvents)), client: listenToEvents}.run(t)
}

// listenToEvents hears twenty.
func listenToEvents(t *testing.T, base string) (said []string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := &sse.Client{HTTPClient: httpClient(t), Backoff: sse.Backoff{InitialInterval: time.Millisecond, MaxInterval: time.Millisecond}}
	c := client.NewConnection(must(http.NewRequestWithContext(ctx, "GET", base, nil))(t))
	c.SubscribeToAll(func(e sse.Event) {
		if ctx.Err() == nil {
			said = append(said, fmt.Sprintf("%s %s %q", e.LastEventID, e.Type, e.Data))
		}
		if e.LastEventID == "20" {
			cancel()
		}
	})
	err := c.Connect()
	return append(said, fmt.Sprint(err))
}

func threeEvents(w http.ResponseWriter, r *http.Request) {
	s, err := sse.Upgrade(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	last, _ := strconv.Atoi(s.LastEventID.String())
	for id := last + 1; id <= last+3; id++ {
		m := &sse.Message{ID: sse.ID(strconv.Itoa(id)), Type: sse.Type("tick")}
		m.AppendData("line\nof", fmt.Sprint("é ", id))
		m.AppendComment("ignored")
		if errors.Join(s.Send(m), s.Flush()) != nil {
			return
		}
	}
}

// TestEventsBreakOff has a server that breaks off behind what it flushed, as one that crashes does: the client must get that,
// and not an error, which it would take for the last word.
func TestEventsBreakOff(t *testing.T) {
	t.Parallel()
	cut := func(w http.ResponseWriter, r *http.Request) {
		threeEvents(w, r)
		panic(http.ErrAbortHandler)
	}
	suite[[]string]{handler: below(http.HandlerFunc(cut)), client: listenToEvents}.run(t)
}

// TestBreaksOffBehindItsHead has nothing but the head before the end.
func TestBreaksOffBehindItsHead(t *testing.T) {
	t.Parallel()
	cut := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	suite[[]string]{handler: below(http.HandlerFunc(cut)), client: func(t *testing.T, base string) (said []string) {
		c := httpClient(t)
		for range 20 {
			rsp := must(c.Get(base))(t)
			body, err := io.ReadAll(rsp.Body)
			rsp.Body.Close()
			said = append(said, fmt.Sprint(rsp.Status, len(body), err))
		}
		return said
	}, except: map[string]string{proxied: "it keeps the head until there is a body"}}.run(t)
}

// TestLongPolling asks for what another request says later, many at once.
func TestLongPolling(t *testing.T) {
	t.Parallel()
	rooms := func(*testing.T) http.Handler {
		said := make(chan string)
		mux := http.NewServeMux()
		mux.HandleFunc("GET "+mount+"/poll", func(w http.ResponseWriter, r *http.Request) {
			select {
			case s := <-said:
				fmt.Fprint(w, s)
			case <-r.Context().Done():
			}
		})
		mux.HandleFunc("POST "+mount+"/say", func(w http.ResponseWriter, r *http.Request) { said <- r.FormValue("s") })
		return mux
	}
	suite[map[string]int]{handler: rooms, client: func(t *testing.T, base string) map[string]int {
		c := httpClient(t)
		heard := make(chan string)
		for range 50 {
			go func() {
				r, _ := http.NewRequest("GET", base+"/poll", nil)
				rsp, err := c.Do(r)
				if err != nil {
					heard <- err.Error()
					return
				}
				heard <- replyOf(t, rsp).Body
				rsp.Body.Close()
			}()
		}
		all := map[string]int{}
		for i := range 50 {
			rsp := must(c.PostForm(base+"/say", map[string][]string{"s": {fmt.Sprint("n", i)}}))(t)
			rsp.Body.Close()
			all[<-heard]++
		}
		return all
	}}.run(t)
}
