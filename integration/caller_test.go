package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
)

// caller uses an HTTP door.
type caller struct {
	*testing.T
	url   string
	token string // empty for none
	http  *http.Client
}

// call returns a caller with connections of its own, which are closed when the test ends.
func call(t *testing.T, url string) *caller {
	t.Helper()
	c := &caller{T: t, url: url, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// try makes one request, and returns the response with its body.
func (c *caller) try(method, path string, body []byte, headers ...string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(bounded(c.T), method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
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

// request is try where an error fails the test.
func (c *caller) request(method, path string, body []byte, headers ...string) (*http.Response, []byte) {
	c.Helper()
	rsp, out, err := c.try(method, path, body, headers...)
	if err != nil {
		c.Fatal(err)
	}
	return rsp, out
}

// verdict is what came of asking whether a user may create a room.
type verdict struct {
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

	status     int
	retryAfter string
}

// refused reports whether a module refused.
func (v verdict) refused() bool { return v.Answer != nil && v.Answer.Refusal != nil }

func (v verdict) String() string {
	text, _ := json.Marshal(v)
	return fmt.Sprintf("%d %s", v.status, text)
}

// tryCreate asks whether a user may create a room.
func (c *caller) tryCreate(user string) (verdict, error) {
	body := []byte(`{"user_id": "` + user + `"}`)
	rsp, out, err := c.try(http.MethodPost, "/_modulebus/v1/ask/spam_checker/user_may_create_room", body)
	if err != nil {
		return verdict{}, err
	}
	v := verdict{status: rsp.StatusCode, retryAfter: rsp.Header.Get("Retry-After")}
	return v, json.Unmarshal(out, &v)
}

// create is tryCreate where an error fails the test.
func (c *caller) create(user string) verdict {
	c.Helper()
	v, err := c.tryCreate(user)
	if err != nil {
		c.Fatal(err)
	}
	return v
}

// moduleStatus is one of the modules that busd lists.
type moduleStatus struct {
	Name         string
	Order        int
	State        string
	Version      string
	Workers      int
	Callbacks    []string
	WebResources []string `json:"web_resources"`
	LastError    string   `json:"last_error"`
}

// module returns how a module is; the zero value when busd does not list it.
func (c *caller) module(name string) moduleStatus {
	c.Helper()
	_, out := c.request(http.MethodGet, "/_modulebus/v1/modules", nil)
	var list struct{ Modules []moduleStatus }
	if err := json.Unmarshal(out, &list); err != nil {
		c.Fatalf("%v in %s", err, out)
	}
	for _, m := range list.Modules {
		if m.Name == name {
			return m
		}
	}
	return moduleStatus{}
}
