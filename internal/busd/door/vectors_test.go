package door_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modulebus/modulebus/internal/busd/config"
)

// vector is a row of the door's contract, which clients in other languages are held to as well.
type vector struct {
	Name, Modules string
	Request       struct {
		Method, Path, Text string
		Body               json.RawMessage
	}
	Response struct {
		Status int
		Body   any
	}
	Means string
}

func vectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("../../../bus/bustest/testdata/http-door.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(text, &file); err != nil || len(file.Vectors) == 0 {
		t.Fatalf("%d vectors: %v", len(file.Vectors), err)
	}
	return file.Vectors
}

func TestDoorAnswersAsTheVectorsSay(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.configure(v.Modules)
			h.service.Wake()
			h.awaitRoster()
			d := h.openHTTP(config.HTTP{})
			d.life.Begin()
			body := []byte(v.Request.Text)
			if v.Request.Text == "" {
				body = v.Request.Body
			}
			rsp, out := d.do(v.Request.Method, v.Request.Path, body)
			var got any
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			anything := cmp.FilterValues(func(a, b any) bool { return a == "*" || b == "*" }, cmp.Ignore())
			if diff := cmp.Diff(v.Response.Body, got, anything); diff != "" || rsp.StatusCode != v.Response.Status {
				t.Errorf("status %d, want %d; want (-), got (+):\n%s", rsp.StatusCode, v.Response.Status, diff)
			}
			if means := meaning(rsp.StatusCode, out); v.Means != "" && means != v.Means {
				t.Errorf("it means %s, and not %s", means, v.Means)
			}
		})
	}
}

// meaning is what a client has to do, by what the page on the door says.
func meaning(status int, body []byte) string {
	var decision struct {
		Answer struct{ Refusal json.RawMessage }
	}
	switch {
	case status != 200 || json.Unmarshal(body, &decision) != nil:
		return "fail"
	case decision.Answer.Refusal != nil:
		return "refuse"
	}
	return "go_on"
}
