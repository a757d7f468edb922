package cli

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/modulebus/modulebus/decision"
	"github.com/modulebus/modulebus/subjects"
)

// TestReplayGoesOnWhereARecordIsGone has a busd forget each record before it can be read.
func TestReplayGoesOnWhereARecordIsGone(t *testing.T) {
	t.Parallel()
	asked := 0
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			asked++
			_, _ = w.Write([]byte(`{"decision_id": "d-1"}`))
			return
		}
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errcode": "M_NOT_FOUND", "error": "there is no such record"}`))
	}))
	t.Cleanup(busy.Close)
	var out, said bytes.Buffer
	r := &replaying{remote: remote{url: busy.URL, timeout: time.Minute}, ask: true, out: &out, own: map[string]bool{}, unknown: tally{}, secrets: tally{}, seen: map[string]bool{}}
	for range 3 {
		record := &decision.Record{
			Callback: subjects.UserMayCreateRoom.FullName(), Outcome: decision.NoOpinion, Request: []byte(`{"user_id": "@a:x"}`),
		}
		if err := r.again(t.Context(), record); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.sum(&said); err != nil || asked != 3 {
		t.Fatalf("%v, asked %d times", err, asked)
	}
	if !strings.Contains(out.String(), "3 records: 0 differ, 3 unknown") || !strings.Contains(said.String(), "3 unknown: the record of what was asked again") {
		t.Errorf("%s%s", &out, &said)
	}
}
