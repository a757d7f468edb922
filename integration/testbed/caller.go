package testbed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// Caller uses an HTTP door.
type Caller struct {
	*testing.T
	URL   string
	Token string // empty for none
	http  *http.Client
}

// Call returns a caller with connections of its own, which are closed when the test ends.
func Call(t *testing.T, url string) *Caller {
	t.Helper()
	c := &Caller{T: t, URL: url, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// Try makes one request, and returns the response with its body.
func (c *Caller) Try(method, path string, body []byte, headers ...string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(Bounded(c.T), method, c.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	rsp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer rsp.Body.Close()
	out, err := io.ReadAll(rsp.Body)
	return rsp, out, err
}

// Request is try where an error fails the test.
func (c *Caller) Request(method, path string, body []byte, headers ...string) (*http.Response, []byte) {
	c.Helper()
	rsp, out, err := c.Try(method, path, body, headers...)
	if err != nil {
		c.Fatal(err)
	}
	return rsp, out
}

// Verdict is what came of asking whether a user may create a room.
type Verdict struct {
	Answer *struct {
		Refusal *struct {
			Errcode, Error   string
			AdditionalFields map[string]any `json:"additional_fields"`
		}
	}
	DecidedBy      string                                     `json:"decided_by"`
	Failures       []struct{ Module, Failure, Policy string } // of a decision
	RosterRevision uint64                                     `json:"roster_revision"`

	Errcode, Error, Module, Failure string // without a decision

	Status     int
	RetryAfter string
}

// Refused reports whether a module refused.
func (v Verdict) Refused() bool { return v.Answer != nil && v.Answer.Refusal != nil }

func (v Verdict) String() string {
	text, _ := json.Marshal(v)
	return fmt.Sprintf("%d %s", v.Status, text)
}

// CreatePath is where one asks whether a user may create a room.
const CreatePath = "/_modulebus/v1/ask/spam_checker/user_may_create_room"

// TryCreate asks whether a user may create a room.
func (c *Caller) TryCreate(user string) (Verdict, error) {
	body := []byte(`{"user_id": "` + user + `"}`)
	rsp, out, err := c.Try(http.MethodPost, CreatePath, body)
	if err != nil {
		return Verdict{}, err
	}
	v := Verdict{Status: rsp.StatusCode, RetryAfter: rsp.Header.Get("Retry-After")}
	return v, json.Unmarshal(out, &v)
}

// Create is tryCreate where an error fails the test.
func (c *Caller) Create(user string) Verdict {
	c.Helper()
	v, err := c.TryCreate(user)
	if err != nil {
		c.Fatal(err)
	}
	return v
}

// ModuleStatus is one of the modules that busd lists.
type ModuleStatus struct {
	Name          string
	Order         int
	State         string
	Version       string
	Workers       int
	Callbacks     []string
	WebResources  []string `json:"web_resources"`
	LastError     string   `json:"last_error"`
	LastErrorOver bool     `json:"last_error_over"`
	Processes     []struct {
		PID    int
		Worker string
	}
}

// Module returns how a module is; the zero value when busd does not list it.
func (c *Caller) Module(name string) ModuleStatus {
	c.Helper()
	_, out := c.Request(http.MethodGet, "/_modulebus/v1/modules", nil)
	var list struct{ Modules []ModuleStatus }
	if err := json.Unmarshal(out, &list); err != nil {
		c.Fatalf("%v in %s", err, out)
	}
	for _, m := range list.Modules {
		if m.Name == name {
			return m
		}
	}
	return ModuleStatus{}
}
