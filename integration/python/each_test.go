//go:build integration

package python_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modulebus/modulebus/integration/testbed"
)

// field is one of a message, as the kit's table has it.
type field struct {
	Name, Type, Only string
	List, Map        bool
	Marks            []string
}

// table is that of the kit: what there is of callbacks, with the fields of their messages.
type table struct {
	Callbacks []struct {
		Category, Callback string
		Request, Reply     []field
	}
	Methods []struct {
		Method, Scope  string
		ByDefault      bool `json:"by_default"` // nobody has to grant it
		Request, Reply []field
	}
	Types map[string][]field
}

// tableOf reads one of the kit's.
func tableOf(t *testing.T, file string) (k table) {
	t.Helper()
	raw, err := os.ReadFile(absolute(t, "bridges/python/modulebus/"+file))
	if err == nil {
		err = json.Unmarshal(raw, &k)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const each = "/_synapse/client/each" // testdata/each.py

// whole is a message in which each field has a value, but files, which go beside it.
func (k table) whole(fields []field, worker string) map[string]any {
	message := map[string]any{}
	for _, f := range fields {
		switch {
		case f.Type == "FileWrapper":
		case slices.Contains(f.Marks, "key"):
			message[f.Name] = "m.login.password"
		case slices.Contains(f.Marks, "to_module"):
			message[f.Name] = "each"
		case slices.Contains(f.Marks, "to_worker"):
			message[f.Name] = worker
		default:
			message[f.Name] = k.value(f)
		}
	}
	return message
}

// value is one of the field's type that is not what the type starts with.
func (k table) value(f field) any {
	switch {
	case f.List:
		return []any{k.one(f)}
	case f.Map:
		return map[string]any{alice: k.one(f)}
	}
	return k.one(f)
}

func (k table) one(f field) any {
	switch f.Type {
	case "string":
		if f.Only != "" {
			return f.Only
		}
		return alice
	case "bool":
		return true
	case "int32", "uint32", "double":
		return 3.0
	case "int64", "uint64":
		return "3"
	case "bytes":
		return "AQI="
	case "json":
		return map[string]any{"password": 1.0}
	}
	return k.whole(k.Types[f.Type], "")
}

// forms are the replies that say one thing each; and all at once, where a follow-up goes to the worker that says them.
func (k table) forms(fields []field, worker string) []map[string]any {
	all := []map[string]any{{}}
	if slices.ContainsFunc(fields, func(f field) bool { return slices.Contains(f.Marks, "to_worker") }) {
		return append(all, k.whole(fields, worker))
	}
	for _, f := range fields {
		all = append(all, map[string]any{f.Name: k.value(f)})
	}
	return all
}

// said is an answer without what it does not say.
func said(answer map[string]any) map[string]any {
	maps.DeleteFunc(answer, func(_ string, v any) bool {
		list, ok := v.([]any)
		return ok && len(list) == 0 || v == false || v == ""
	})
	return answer
}

// TestEachCallbackOfTheKitGetsAndSaysWhatTheSchemasHave asks each with a request that has everything, once for each thing that a reply
// can say.
func TestEachCallbackOfTheKitGetsAndSaysWhatTheSchemasHave(t *testing.T) {
	t.Parallel()
	k := tableOf(t, "callbacks.json")
	d := testbed.Serve(t, runs(t, "each", "{}", "    on_failure: fail\n"))
	var module struct {
		Worker string
		Heard  map[string]map[string]any
	}
	tell := func(replies any) {
		body, _ := json.Marshal(replies)
		rsp, out := d.Request(http.MethodPost, each, body)
		if err := json.Unmarshal(out, &module); err != nil {
			t.Fatal(rsp.Status, err)
		}
	}
	tell(map[string]any{})
	for _, c := range k.Callbacks {
		full := c.Category + "." + c.Callback
		asked := k.whole(c.Request, module.Worker)
		question, _ := json.Marshal(asked)
		for _, reply := range k.forms(c.Reply, module.Worker) {
			tell(map[string]any{full: reply})
			rsp, out := d.Request(http.MethodPost, "/_modulebus/v1/ask/"+c.Category+"/"+c.Callback, question)
			var decision struct{ Answer map[string]any }
			if err := json.Unmarshal(out, &decision); err != nil || rsp.StatusCode != http.StatusOK {
				t.Errorf("%s, %v: %s %s", full, reply, rsp.Status, out)
				continue
			}
			if got := said(decision.Answer); !maps.EqualFunc(got, reply, reflect.DeepEqual) {
				t.Errorf("%s says %v, want %v", full, got, reply)
			}
			tell(map[string]any{})
			if !reflect.DeepEqual(module.Heard[full], asked) {
				t.Errorf("%s heard %v, want %v", full, module.Heard[full], asked)
			}
		}
	}
}

// TestEachMethodOfTheModuleAPIIsCalledAsTheSchemasHaveIt calls each with a request that has everything, and has a homeserver answer with
// everything.
func TestEachMethodOfTheModuleAPIIsCalledAsTheSchemasHaveIt(t *testing.T) {
	t.Parallel()
	k := tableOf(t, "module_api.json")
	var called, answer sync.Map // by path
	homeserver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		called.Store(r.URL.Path, string(body))
		said, _ := answer.Load(r.URL.Path)
		_ = json.NewEncoder(w).Encode(said) // nil is null, which is no reply.
	}))
	t.Cleanup(homeserver.Close)
	token := filepath.Join(t.TempDir(), "token")
	testbed.Write(t, token, "secret")
	scopes := map[string]bool{}
	for _, m := range k.Methods {
		if !m.ByDefault {
			scopes[m.Scope] = true
		}
		answer.Store("/v1/"+m.Method, k.whole(m.Reply, ""))
	}
	d := testbed.Serve(t, fmt.Sprintf("homeserver: {url: %q, token_file: %q}\n", homeserver.URL, token)+
		runs(t, "each", "{}", "    grants: ["+strings.Join(slices.Collect(maps.Keys(scopes)), ", ")+"]\n"))
	for _, m := range k.Methods {
		want, _ := json.Marshal(k.whole(m.Request, ""))
		rsp, out := d.Request(http.MethodPost, each+"/"+m.Method, want)
		if got, _ := called.Load("/v1/" + m.Method); !sameJSON(fmt.Sprint(got), string(want)) {
			t.Errorf("%s: %s; the homeserver was asked %v, want %s", m.Method, rsp.Status, got, want)
		}
		if reply, _ := json.Marshal(k.whole(m.Reply, "")); !sameJSON(string(out), string(reply)) {
			t.Errorf("%s returned %s, want %s", m.Method, out, reply)
		}
	}
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
