package main

import (
	"bytes"
	"encoding/json"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	bridgeTable   = "bridges/synapse/modulebus_synapse/callbacks.json"
	bridgeMethods = "bridges/synapse/modulebus_synapse/module_api.json"
)

// bridgeCallback is an rpc, as homeservers that are not Go programs see it.
type bridgeCallback struct {
	Category           string         `json:"category"`
	Callback           string         `json:"callback"`
	AllOrNone          bool           `json:"all_or_none,omitempty"` // of the category
	Rule               string         `json:"rule"`
	OnFailure          string         `json:"on_failure"`
	OnFailureFederated string         `json:"on_failure_federated,omitempty"`
	Refusal            map[string]any `json:"refusal,omitempty"` // what REFUSE answers
	Speculative        bool           `json:"speculative,omitempty"`
	Since              string         `json:"since"`
	Follows            []string       `json:"follows,omitempty"`
	Request            []bridgeField  `json:"request"`
	Reply              []bridgeField  `json:"reply"`
}

type bridgeField struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"` // a scalar of protobuf, json, or the name of one of the types
	List     bool     `json:"list,omitempty"`
	Map      bool     `json:"map,omitempty"` // of strings to Type
	Optional bool     `json:"optional,omitempty"`
	Marks    []string `json:"marks,omitempty"` // of fields.proto, but raw_json, which is a type here, and aside, which matters to busd alone
}

// bridgeMethod is an rpc of the Module API, as homeservers that are not Go programs see it.
type bridgeMethod struct {
	Method    string        `json:"method"`
	Scope     string        `json:"scope"`
	ByDefault bool          `json:"by_default,omitempty"`
	Since     string        `json:"since"`
	Request   []bridgeField `json:"request"`
	Reply     []bridgeField `json:"reply"`
}

var marks = []string{"final", "key", "keyed", "state", "to_module", "to_worker", "followed_up"}

// bridge returns the tables that the bridge in Synapse is driven by.
func bridge(files []protoreflect.FileDescriptor) (map[string][]byte, error) {
	table := struct {
		Callbacks []bridgeCallback         `json:"callbacks"`
		Types     map[string][]bridgeField `json:"types"`
	}{Types: map[string][]bridgeField{}}
	for _, f := range files {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				if option(s.Methods().Get(j), "callback") != nil {
					table.Callbacks = append(table.Callbacks, bridgeCallbackOf(s, s.Methods().Get(j)))
				}
			}
		}
		if strings.HasSuffix(f.Path(), "callbacks/v1/types.proto") {
			for i := range f.Messages().Len() {
				m := f.Messages().Get(i)
				table.Types[string(m.Name())] = bridgeFieldsOf(m)
			}
		}
	}
	callbacks, err := encode(table)
	if err != nil {
		return nil, err
	}
	methods, err := encode(bridgeMethodsOf(files))
	return map[string][]byte{
		bridgeTable: callbacks, bridgeMethods: methods,
		pythonFolder + "callbacks.json": callbacks, pythonFolder + "module_api.json": methods,
	}, err
}

func encode(table any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(table)
	return b.Bytes(), err
}

// bridgeMethodsOf is the table of the Module API, with the types that its methods use and no others.
func bridgeMethodsOf(files []protoreflect.FileDescriptor) any {
	table := struct {
		Methods []bridgeMethod           `json:"methods"`
		Types   map[string][]bridgeField `json:"types"`
	}{Types: map[string][]bridgeField{}}
	for _, f := range files {
		s := f.Services().ByName("ModuleApi")
		if s == nil {
			continue
		}
		for i, m := range methodsOf(s) {
			d := s.Methods().Get(i)
			table.Methods = append(table.Methods, bridgeMethod{
				Method: m.Name, Scope: m.Scope, ByDefault: m.ByDefault, Since: m.Since,
				Request: bridgeFieldsOf(d.Input()), Reply: bridgeFieldsOf(d.Output()),
			})
			addTypes(table.Types, d.Input())
			addTypes(table.Types, d.Output())
		}
	}
	return table
}

// addTypes adds the messages that a message has in its fields.
func addTypes(types map[string][]bridgeField, m protoreflect.MessageDescriptor) {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if f.IsMap() {
			f = f.MapValue()
		}
		inner := f.Message()
		if inner == nil || types[string(inner.Name())] != nil {
			continue
		}
		types[string(inner.Name())] = bridgeFieldsOf(inner)
		addTypes(types, inner)
	}
}

func bridgeCallbackOf(s protoreflect.ServiceDescriptor, m protoreflect.MethodDescriptor) bridgeCallback {
	c := callbackOf(m)
	out := bridgeCallback{
		Category: snake(string(s.Name())), Callback: c.Name, AllOrNone: categoryOf(s).AllOrNone,
		Rule: c.Rule, OnFailure: c.OnFailure, OnFailureFederated: c.OnFailureFederated,
		Speculative: c.Speculative, Since: c.Since,
		Request: bridgeFieldsOf(m.Input()), Reply: bridgeFieldsOf(m.Output()),
	}
	o := option(m, "callback")
	for i := range field(o, "follows").List().Len() {
		out.Follows = append(out.Follows, snake(field(o, "follows").List().Get(i).String()))
	}
	if refusal := field(o, "refusal").Message(); refusal.IsValid() {
		out.Refusal = map[string]any{}
		refusal.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			out.Refusal[string(f.Name())] = v.Interface()
			return true
		})
	}
	return out
}

func bridgeFieldsOf(m protoreflect.MessageDescriptor) []bridgeField {
	out := []bridgeField{}
	for i := range m.Fields().Len() {
		out = append(out, bridgeFieldOf(m.Fields().Get(i)))
	}
	return out
}

func bridgeFieldOf(f protoreflect.FieldDescriptor) bridgeField {
	value := f
	if f.IsMap() {
		value = f.MapValue()
	}
	out := bridgeField{
		Name: string(f.Name()), Type: value.Kind().String(),
		List: f.IsList(), Map: f.IsMap(), Optional: f.HasOptionalKeyword(),
	}
	switch {
	case value.Message() != nil:
		out.Type = string(value.Message().Name())
	case marked(f, "raw_json"):
		out.Type = "json"
	}
	for _, mark := range marks {
		if marked(f, mark) {
			out.Marks = append(out.Marks, mark)
		}
	}
	return out
}
