package synapse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/modulebus/modulebus/bridges/python"
	"github.com/modulebus/modulebus/subjects"
)

// Survey is what the source of a module shows.
type Survey struct {
	Module     string   `json:"module"`
	Version    string   `json:"version"`    // of its package, where it is known
	Uses       []Use    `json:"uses"`       // places that use what exists only in Synapse's process
	Attributes []string `json:"attributes"` // all names of methods, and more
	Callbacks  []string `json:"callbacks"`  // that it registers by name
	Registers  bool     `json:"registers"`  // callbacks or a web resource, as far as its Python says
	Pages      []string `json:"pages"`      // paths of web resources
	Missing    []string `json:"missing"`    // packages that it imports and that are not there
	Problem    string   `json:"problem"`    // why the source could not be read
}

// Use is a place in a module's source.
type Use struct {
	Name string `json:"name"`
	File string `json:"file"`
	Line int    `json:"line"`
}

// Look reads the sources of modules in a Python's environment, and returns surveys in the order of classes. It does not
// run the modules.
func Look(ctx context.Context, interpreter string, classes []string) ([]Survey, error) {
	c := exec.CommandContext(ctx, interpreter, append([]string{"-c", python.Survey, ofOthers()}, classes...)...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w %s", interpreter, err, lastLine(stderr.String()))
	}
	var all []Survey
	if err := json.Unmarshal(out, &all); err != nil || len(all) != len(classes) {
		return nil, fmt.Errorf("%s did not say what it found", interpreter)
	}
	return all, nil
}

// ofOthers lists the methods of the Module API that Synapse's ModuleApi does not have, by the names that modules'
// sources use.
func ofOthers() string {
	var names []string
	for _, m := range subjects.Methods() {
		if of := m.Options.GetOf(); of != "" {
			names = append(names, of[strings.LastIndexByte(of, '.')+1:]+"."+m.Name)
		}
	}
	return strings.Join(names, ",")
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// register maps Synapse's old method to the two of which the kit composes it.
var register = map[string][]string{"register": {"register_user", "register_device"}}

// Grants returns the scopes that the module needs, in the order of their declaration.
func (s Survey) Grants() (grants []string) {
	needed := map[string]bool{}
	for _, name := range s.Attributes {
		for _, name := range append([]string{name}, register[name]...) {
			if m, ok := subjects.FindMethod(name); ok && !m.Options.GetByDefault() {
				needed[m.Options.GetScope()] = true
			}
		}
	}
	for _, scope := range subjects.Scopes() {
		if needed[scope] {
			grants = append(grants, scope)
		}
	}
	return grants
}

// unknown returns the callbacks that Synapse does not have, such as a fork's.
func (s Survey) unknown() (names []string) {
	for _, name := range s.Callbacks {
		known := slices.ContainsFunc(subjects.Categories(), func(c *subjects.Category) bool {
			_, ok := subjects.Find(c.Name + "." + name)
			return ok
		})
		if !known && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// tolerated returns the names that the module's command must be told to tolerate.
func (s Survey) tolerated() string {
	var names []string
	for _, u := range s.Uses {
		names = append(names, u.Name)
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ",")
}
