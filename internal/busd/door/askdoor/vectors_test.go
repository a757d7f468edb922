package askdoor_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/modulebus/modulebus/internal/busd/door/doortest"
	callbacksv1 "github.com/modulebus/modulebus/schemas/callbacks/v1"
	rosterv1 "github.com/modulebus/modulebus/schemas/roster/v1"
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

// binary is one in protobuf. Bytes are in base64.
type binary struct {
	Name, Modules string
	Request       struct {
		Path string
		Body []byte
	}
	Response struct {
		Status    int
		Answer    []byte // of the decision
		DecidedBy string `json:"decided_by"`
	}
	Means string
}

// contract is the file.
type contract struct {
	Vectors  []vector
	Protobuf []binary
}

func vectors(t *testing.T) (file contract) {
	t.Helper()
	text, err := os.ReadFile("../../../../bus/bustest/testdata/http-door.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Vectors) == 0 || len(file.Protobuf) == 0 {
		t.Fatalf("%d vectors: %v", len(file.Vectors), err)
	}
	return file
}

func TestDoorAnswersAsTheVectorsSay(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t).Vectors {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			d := doortest.BegunWith(t, v.Modules)
			body := []byte(v.Request.Text)
			if v.Request.Text == "" {
				body = v.Request.Body
			}
			rsp, out := d.Do(v.Request.Method, v.Request.Path, body)
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

// TestDoorAnswersInProtobufAsTheVectorsSay asks and reads in protobuf, as clients with generated code do.
func TestDoorAnswersInProtobufAsTheVectorsSay(t *testing.T) {
	t.Parallel()
	for _, v := range vectors(t).Protobuf {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			d := doortest.BegunWith(t, v.Modules)
			rsp, out := d.Do(http.MethodPost, v.Request.Path, v.Request.Body, "Content-Type", "application/x-protobuf")
			if rsp.StatusCode != v.Response.Status {
				t.Fatalf("status %d, want %d: %s", rsp.StatusCode, v.Response.Status, out)
			}
			decision, means := &rosterv1.Decision{}, "fail" // Errors are JSON, which the other vectors are about.
			if rsp.StatusCode == http.StatusOK {
				means = binaryMeaning(t, out, decision)
			}
			if means != v.Means {
				t.Errorf("it means %s, and not %s", means, v.Means)
			}
			if !bytes.Equal(decision.GetAnswer(), v.Response.Answer) || decision.GetDecidedBy() != v.Response.DecidedBy {
				t.Errorf("answer %q of %q, want %q of %q", decision.GetAnswer(), decision.GetDecidedBy(), v.Response.Answer, v.Response.DecidedBy)
			}
		})
	}
}

// binaryMeaning reads a decision, and says what a client has to do.
func binaryMeaning(t *testing.T, body []byte, decision *rosterv1.Decision) string {
	t.Helper()
	answer := &callbacksv1.UserMayCreateRoomResponse{}
	if err := errors.Join(proto.Unmarshal(body, decision), proto.Unmarshal(decision.GetAnswer(), answer)); err != nil {
		t.Fatal(err)
	}
	if decision.GetRosterRevision() == 0 {
		t.Error("no roster revision")
	}
	if answer.GetRefusal() != nil {
		return "refuse"
	}
	return "go_on"
}
